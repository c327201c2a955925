package driver

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/drivers/proto"
)

// An execStream is one "nomad alloc exec".
type execStream struct {
	cmd    *exec.Cmd
	start  func() error
	mu     sync.Mutex // of Send: a stream takes one sender at a time
	stream drivers.ExecTaskStream
}

func (s *execStream) send(m *drivers.ExecTaskStreamingResponseMsg) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream.Send(m)
}

// ended sends the exit code, after all output.
func (s *execStream) ended(err error) error {
	if s.cmd.ProcessState == nil {
		return fmt.Errorf("run command: %w", err)
	}
	return s.send(drivers.NewExecStreamingResponseExit(exitCode(s.cmd.ProcessState)))
}

func (s *execStream) pipes() error {
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		return err
	}
	s.cmd.Stdout = sender(func(b []byte) error {
		return s.send(&drivers.ExecTaskStreamingResponseMsg{Stdout: &proto.ExecTaskStreamingIOOperation{Data: b}})
	})
	s.cmd.Stderr = sender(func(b []byte) error {
		return s.send(&drivers.ExecTaskStreamingResponseMsg{Stderr: &proto.ExecTaskStreamingIOOperation{Data: b}})
	})
	if err := s.start(); err != nil {
		return err
	}
	go s.input(stdin, nil)
	err = s.cmd.Wait()
	for _, m := range []*drivers.ExecTaskStreamingResponseMsg{
		{Stdout: &proto.ExecTaskStreamingIOOperation{Close: true}},
		{Stderr: &proto.ExecTaskStreamingIOOperation{Close: true}},
	} {
		if err := s.send(m); err != nil {
			return err
		}
	}
	return s.ended(err)
}

// input passes on what the operator types until the stream ends, at the latest with
// the call.
func (s *execStream) input(to io.WriteCloser, terminal *os.File) {
	for {
		m, err := s.stream.Recv()
		if err != nil {
			return
		}
		if size := m.TtySize; size != nil && terminal != nil {
			resize(terminal, size.Height, size.Width)
		}
		if in := m.Stdin; in != nil {
			if len(in.Data) > 0 {
				// Continue also when the command no longer reads: heartbeats
				// must still be received.
				to.Write(in.Data)
			}
			if in.Close && terminal == nil {
				to.Close()
			}
		}
	}
}

// sender is a writer that sends what is written.
type sender func([]byte) error

func (s sender) Write(b []byte) (int, error) {
	if err := s(b); err != nil {
		return 0, err
	}
	return len(b), nil
}
