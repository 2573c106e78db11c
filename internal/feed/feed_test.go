package feed

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
)

func TestFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{})
		f := New[int](3, func(ctx context.Context) error {
			select {
			case <-ended:
			case <-ctx.Done():
			}
			return nil
		})
		for i := range 5 {
			if got := f.Put(i); got != (i < 3) {
				t.Errorf("Put(%d) is %t", i, got)
			}
		}
		if f.Missed() != 2 {
			t.Errorf("%d missed", f.Missed())
		}
		for v := range f.All(t.Context()) {
			if v == 1 {
				break // the rest stays
			}
		}
		got := make(chan []int)
		go func() { got <- slices.Collect(f.All(t.Context())) }()
		synctest.Wait()
		f.Put(7)
		synctest.Wait()
		close(ended)
		if all := <-got; !slices.Equal(all, []int{2, 7}) {
			t.Errorf("read %v", all)
		}
	})
}
