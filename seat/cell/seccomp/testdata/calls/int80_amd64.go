package main

// asm is in the file beside this one.
func asm(n, a0, a1, a2, a3, a4 uintptr) int32

func int80(n uintptr, a [6]uintptr) int {
	if r := asm(n, a[0], a[1], a[2], a[3], a[4]); r < 0 && r > -4096 {
		return int(-r)
	}
	return 0
}
