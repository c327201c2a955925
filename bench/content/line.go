package main

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// line is a TCP proxy that delays as a line of a length does.
type line struct {
	listener net.Listener
	to       string
	rtt      time.Duration
	opened   atomic.Int64
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

func newLine(ctx context.Context, to string, rtt time.Duration) (*line, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &line{listener: l, to: to, rtt: rtt}
	p.ctx, p.cancel = context.WithCancel(ctx)
	p.running.Go(p.accept)
	return p, nil
}

func (p *line) address() string { return p.listener.Addr().String() }

func (p *line) close() {
	p.cancel()
	p.listener.Close()
	p.running.Wait()
}

func (p *line) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.opened.Add(1)
		p.running.Go(func() { p.serve(conn) })
	}
}

func (p *line) serve(conn net.Conn) {
	defer conn.Close()
	// The client's system took the connection at once; its first byte waits for the
	// round trip that this would have taken.
	select {
	case <-time.After(p.rtt):
	case <-p.ctx.Done():
		return
	}
	far, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer far.Close()
	stop := context.AfterFunc(p.ctx, func() { conn.Close(); far.Close() })
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { delay(far, conn, p.rtt/2) })
	both.Go(func() { delay(conn, far, p.rtt/2) })
	both.Wait()
}

type chunk struct {
	due  time.Time
	data []byte
}

// delay copies from one connection to another, each byte late by the delay. What is on
// the way is bounded at 8 MiB.
func delay(to, from net.Conn, late time.Duration) {
	chunks := make(chan chunk, 128)
	var sender sync.WaitGroup
	sender.Go(func() {
		broken := false
		for c := range chunks {
			if broken {
				continue
			}
			if wait := time.Until(c.due); wait > 0 {
				timer := time.NewTimer(wait)
				<-timer.C
			}
			if _, err := to.Write(c.data); err != nil {
				broken = true
				from.Close()
			}
		}
		if half, ok := to.(*net.TCPConn); ok {
			_ = half.CloseWrite()
		}
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			chunks <- chunk{time.Now().Add(late), append([]byte(nil), buf[:n]...)}
		}
		if err != nil {
			if err != io.EOF {
				to.Close()
			}
			break
		}
	}
	close(chunks)
	sender.Wait()
}
