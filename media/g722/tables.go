package g722

// Tables of ITU-T G.722. All are facts of the Recommendation: a codec with
// other numbers is another codec.

// qmfTaps holds every second coefficient of the symmetric 24-tap quadrature
// mirror filter (table 11, scaled by 8192): 0, 2, 4 ... Read backwards they
// are the others.
var qmfTaps = [12]int32{3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11}

// decision64 are the decision levels of the six-bit quantiser (table 14, Q6).
var decision64 = [30]int32{
	0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940,
	1023, 1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
}

// codePos and codeNeg are the codewords of its intervals, from 1 (ILP, ILN).
var codePos = [31]byte{
	0, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47,
	46, 45, 44, 43, 42, 41, 40, 39, 38, 37, 36, 35, 34, 33, 32,
}

var codeNeg = [31]byte{
	0, 63, 62, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19,
	18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4,
}

// level64, level16 and level4 are the outputs of the inverse quantisers
// (QM6, QM4, QM2).
var level64 = [64]int32{
	-136, -136, -136, -136, -24808, -21904, -19008, -16704,
	-14984, -13512, -12280, -11192, -10232, -9360, -8576, -7856,
	-7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576,
	-3168, -2776, -2400, -2032, -1688, -1360, -1040, -728,
	24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192,
	10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456,
	4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032,
	1688, 1360, 1040, 728, 432, 136, -432, -136,
}

var level16 = [16]int32{
	0, -20456, -12896, -8968, -6288, -4240, -2584, -1200,
	20456, 12896, 8968, 6288, 4240, 2584, 1200, 0,
}

var level4 = [4]int32{-7408, -1616, 7408, 1616}

const decision4 = 564 // the one decision level of the two-bit quantiser

// growLow and growHigh say how the logarithmic scale factors move with each
// code (WL of RL42, WH of RH2).
var growLow = [16]int32{
	-60, 3042, 1198, 538, 334, 172, 58, -30,
	3042, 1198, 538, 334, 172, 58, -30, -60,
}

var growHigh = [4]int32{798, -214, 798, -214}

// exponent is 2048 * 2^(i/32) (ILB).
var exponent = [32]int32{
	2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
	2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
}
