// Command calls makes the system calls that it reads, one a line, a number and six
// arguments in hexadecimal, and answers each with the errno in decimal. With the
// argument int80 it makes them as a program of 32-bit x86 does.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"syscall"
)

func main() {
	in := bufio.NewReader(os.Stdin)
	for {
		var n uintptr
		var a [6]uintptr
		_, err := fmt.Fscanf(in, "%x %x %x %x %x %x %x\n", &n, &a[0], &a[1], &a[2], &a[3], &a[4], &a[5])
		if err == io.EOF {
			return
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if len(os.Args) > 1 && os.Args[1] == "int80" {
			fmt.Println(int80(n, a))
			continue
		}
		_, _, e := syscall.RawSyscall6(n, a[0], a[1], a[2], a[3], a[4], a[5])
		fmt.Println(int(e))
	}
}
