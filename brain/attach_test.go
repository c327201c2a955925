package brain

import (
	"context"
	"net"
	"sync"
	"testing"
)

// TestConnectionTakenOnce takes a dialled connection and drops it at the same time, as an
// http.Transport does whose request has just ended: one of the two has it, and it is closed
// exactly if that is drop.
func TestConnectionTakenOnce(t *testing.T) {
	for range 200 {
		ours, theirs := net.Pipe()
		d := &dialled{done: make(chan struct{}), conn: ours}
		var both sync.WaitGroup
		var taken net.Conn
		both.Go(func() { taken, _ = d.take(context.Background(), "", "") })
		both.Go(d.drop)
		close(d.done)
		both.Wait()
		if _, err := d.take(context.Background(), "", ""); err == nil {
			t.Fatal("taken twice")
		}
		closed := make(chan bool)
		go func() {
			_, err := theirs.Read(make([]byte, 1))
			closed <- err != nil
		}()
		if taken != nil {
			if _, err := taken.Write([]byte("x")); err != nil {
				t.Fatal("a connection that was taken is closed:", err)
			}
		}
		if got := <-closed; got != (taken == nil) {
			t.Fatalf("closed: %v, though taken: %v", got, taken != nil)
		}
		ours.Close()
		theirs.Close()
	}
}
