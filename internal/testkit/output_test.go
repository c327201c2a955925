package testkit

import (
	"io"
	"testing"
)

// TestOutput writes while a test ends, and later. The race detector looks on: CI runs this
// package with it.
func TestOutput(t *testing.T) {
	for range 20 {
		begun, end, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
		t.Run("ends", func(t *testing.T) {
			w := Output(t)
			go func() {
				defer close(ended)
				for n := 0; ; n++ {
					if _, err := io.WriteString(w, "here\n"); err != nil {
						panic(err)
					}
					if n == 0 {
						close(begun)
					}
					select {
					case <-end:
						return
					default:
					}
				}
			}()
			<-begun
		})
		close(end)
		<-ended
	}
}
