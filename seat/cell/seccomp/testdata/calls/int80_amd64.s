#include "textflag.h"

// func asm(n, a0, a1, a2, a3, a4 uintptr) int32
TEXT ·asm(SB), NOSPLIT, $0-52
	MOVQ n+0(FP), AX
	MOVQ a0+8(FP), BX
	MOVQ a1+16(FP), CX
	MOVQ a2+24(FP), DX
	MOVQ a3+32(FP), SI
	MOVQ a4+40(FP), DI
	INT  $0x80
	MOVL AX, ret+48(FP)
	RET
