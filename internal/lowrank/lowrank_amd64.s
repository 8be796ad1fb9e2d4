#include "textflag.h"

// func productAVX2(dst, left, right *float32, rows, n, stride int)
//
// A row of dst is in Y0 to Y7; each element of left is multiplied with a row of
// the panel, 256 bytes, and added.
TEXT ·productAVX2(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ left+8(FP), SI
	MOVQ right+16(FP), DX
	MOVQ rows+24(FP), CX
	MOVQ n+32(FP), R8
	MOVQ stride+40(FP), R9
	SHLQ $2, R9

row:
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	VXORPS Y4, Y4, Y4
	VXORPS Y5, Y5, Y5
	VXORPS Y6, Y6, Y6
	VXORPS Y7, Y7, Y7
	MOVQ   SI, R10
	MOVQ   DX, R11
	MOVQ   R8, R12

term:
	VBROADCASTSS (R10), Y8
	VFMADD231PS  (R11), Y8, Y0
	VFMADD231PS  32(R11), Y8, Y1
	VFMADD231PS  64(R11), Y8, Y2
	VFMADD231PS  96(R11), Y8, Y3
	VFMADD231PS  128(R11), Y8, Y4
	VFMADD231PS  160(R11), Y8, Y5
	VFMADD231PS  192(R11), Y8, Y6
	VFMADD231PS  224(R11), Y8, Y7
	ADDQ         $4, R10
	ADDQ         $256, R11
	DECQ         R12
	JNZ          term

	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	VMOVUPS Y4, 128(DI)
	VMOVUPS Y5, 160(DI)
	VMOVUPS Y6, 192(DI)
	VMOVUPS Y7, 224(DI)
	ADDQ    $256, DI
	ADDQ    R9, SI
	DECQ    CX
	JNZ     row
	VZEROUPPER
	RET

DATA ones<>+0(SB)/4, $1
GLOBL ones<>(SB), RODATA|NOPTR, $4
DATA half<>+0(SB)/4, $0x7fff
GLOBL half<>(SB), RODATA|NOPTR, $4
DATA nan<>+0(SB)/4, $0x7fc00000
GLOBL nan<>(SB), RODATA|NOPTR, $4
DATA exponent<>+0(SB)/4, $0x7f807f80
GLOBL exponent<>(SB), RODATA|NOPTR, $4

// round rounds the float32 in x to bfloat16, in the upper halves; below them
// there may be anything. It uses Y8 and Y9; ones, half and nan are in Y13 to Y15.
#define round(x) \
	VCMPPS    $3, x, x, Y9    \ // unordered: NaN
	VPSRLD    $16, x, Y8      \
	VPAND     Y13, Y8, Y8     \
	VPADDD    Y14, Y8, Y8     \
	VPADDD    Y8, x, x        \
	VBLENDVPS Y9, Y15, x, x

// cut clears the lower halves.
#define cut(x) \
	VPSRLD $16, x, x \
	VPSLLD $16, x, x

// func addBF16AVX2(w *uint16, p *float32, s float32, n int, twice bool) bool
TEXT ·addBF16AVX2(SB), NOSPLIT, $0-41
	MOVQ         w+0(FP), DI
	MOVQ         p+8(FP), SI
	VBROADCASTSS s+16(FP), Y12
	MOVQ         n+24(FP), CX
	MOVBLZX      twice+32(FP), AX
	VPBROADCASTD ones<>(SB), Y13
	VPBROADCASTD half<>(SB), Y14
	VPBROADCASTD nan<>(SB), Y15
	VPBROADCASTD exponent<>(SB), Y11
	VPXOR        Y10, Y10, Y10

block:
	VMULPS (SI), Y12, Y2
	VMULPS 32(SI), Y12, Y3
	TESTL  AX, AX
	JZ     once
	round(Y2)
	round(Y3)
	cut(Y2)
	cut(Y3)

once:
	VPMOVZXWD (DI), Y0
	VPMOVZXWD 16(DI), Y1
	VPSLLD    $16, Y0, Y0
	VPSLLD    $16, Y1, Y1
	VADDPS    Y2, Y0, Y0
	VADDPS    Y3, Y1, Y1
	round(Y0)
	round(Y1)
	VPSRLD    $16, Y0, Y0
	VPSRLD    $16, Y1, Y1
	VPACKUSDW Y1, Y0, Y0
	VPERMQ    $0xd8, Y0, Y0
	VMOVDQU   Y0, (DI)

	// An exponent of ones: infinite or NaN.
	VPAND    Y11, Y0, Y0
	VPCMPEQW Y11, Y0, Y0
	VPOR     Y0, Y10, Y10

	ADDQ $64, SI
	ADDQ $32, DI
	SUBQ $16, CX
	JNZ  block

	VPTEST Y10, Y10
	SETEQ  ret+40(FP)
	VZEROUPPER
	RET
