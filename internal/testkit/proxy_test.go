package testkit

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"
)

func TestProxy(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	Must(t, err)
	defer listener.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(conn, conn); conn.Close() }()
		}
	}()
	p := StartProxy(t, listener.Addr().String())
	conn, err := net.Dial("tcp", p.Address)
	Must(t, err)
	defer conn.Close()
	echo := bufio.NewReader(conn)
	say := func(text string) {
		t.Helper()
		_, err := io.WriteString(conn, text+"\n")
		Must(t, err)
	}
	hear := func(want string) {
		t.Helper()
		Must(t, conn.SetReadDeadline(time.Now().Add(patience)))
		if text, err := echo.ReadString('\n'); err != nil || text != want+"\n" {
			t.Fatalf("heard %q, %v; want %q", text, err, want)
		}
	}
	say("one")
	hear("one")

	p.Cut()
	say("two")
	Must(t, conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	if text, err := echo.ReadString('\n'); err == nil {
		t.Errorf("heard %q by a cut proxy", text)
	}
	late, err := net.Dial("tcp", p.Address) // it is not refused
	Must(t, err)
	late.Close()
	p.Heal()
	hear("two")

	p.Break()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a broken proxy keeps its connections")
	}
	if conn, err := net.Dial("tcp", p.Address); err == nil {
		conn.Close()
		t.Error("a broken proxy takes connections")
	}
	listener.Close()
	<-served
}
