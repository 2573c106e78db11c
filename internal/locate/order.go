package locate

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// Order sorts by priority and, within one, draws by weight (RFC 2782): each draw takes a record with a chance in proportion to its weight among those
// that are left. Records of weight 0 come first in the running sum, which gives them their very small chance.
//
// R is anything that has an SRV record, told by srv. intn returns a number from 0 to n-1; nil means math/rand/v2. records is not changed.
func Order[R any](records []R, srv func(R) SRV, intn func(n int) int) []R {
	if intn == nil {
		intn = rand.IntN
	}
	left := slices.Clone(records)
	slices.SortStableFunc(left, func(x, y R) int {
		a, b := srv(x), srv(y)
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(min(a.Weight, 1), min(b.Weight, 1)))
	})
	ordered := make([]R, 0, len(left))
	for len(left) > 0 {
		n, sum := 0, 0
		for n < len(left) && srv(left[n]).Priority == srv(left[0]).Priority {
			sum += int(srv(left[n]).Weight)
			n++
		}
		draw, i := intn(sum+1), 0
		for running := int(srv(left[0]).Weight); running < draw; running += int(srv(left[i]).Weight) {
			i++
		}
		ordered = append(ordered, left[i])
		left = slices.Delete(left, i, i+1)
	}
	return ordered
}
