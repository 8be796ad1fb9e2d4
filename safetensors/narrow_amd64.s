#include "textflag.h"

// func toF16Eights(dst *byte, src *float32, n int)
TEXT ·toF16Eights(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

loop:
	VMOVUPS   (SI), Y0
	VCVTPS2PH $0, Y0, (DI) // to nearest, ties to even
	ADDQ      $32, SI
	ADDQ      $16, DI
	DECQ      CX
	JNZ       loop
	VZEROUPPER
	RET

DATA bf16Half<>+0(SB)/4, $0x7fff
GLOBL bf16Half<>(SB), RODATA|NOPTR, $4
DATA bf16One<>+0(SB)/4, $1
GLOBL bf16One<>(SB), RODATA|NOPTR, $4
DATA bf16Quiet<>+0(SB)/4, $0x40
GLOBL bf16Quiet<>(SB), RODATA|NOPTR, $4

// func toBF16Eights(dst *byte, src *float32, n int)
TEXT ·toBF16Eights(SB), NOSPLIT, $0-24
	MOVQ         dst+0(FP), DI
	MOVQ         src+8(FP), SI
	MOVQ         n+16(FP), CX
	VPBROADCASTD bf16Half<>(SB), Y13
	VPBROADCASTD bf16One<>(SB), Y14
	VPBROADCASTD bf16Quiet<>(SB), Y15

loop:
	VMOVDQU   (SI), Y0
	VPSRLD    $16, Y0, Y1
	VPAND     Y14, Y1, Y2
	VPADDD    Y13, Y2, Y2
	VPADDD    Y0, Y2, Y2
	VPSRLD    $16, Y2, Y2
	VPOR      Y15, Y1, Y1 // what a NaN becomes
	VCMPPS    $3, Y0, Y0, Y3
	VPBLENDVB Y3, Y1, Y2, Y2
	VPACKUSDW Y2, Y2, Y2
	VPERMQ    $8, Y2, Y2
	VMOVDQU   X2, (DI)
	ADDQ      $32, SI
	ADDQ      $16, DI
	DECQ      CX
	JNZ       loop
	VZEROUPPER
	RET
