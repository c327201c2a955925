// Package sound gives a seat its own PulseAudio server with one null sink.
package sound

import (
	"context"
	"errors"
	"log/slog"
	"syscall"
)

// ErrNotInstalled says that this machine has no PulseAudio.
var ErrNotInstalled = errors.New("pulseaudio is not installed")

// Source is what a capture of the app's sound connects to.
const Source = "nearcast.monitor"

// Config says where the server lives.
type Config struct {
	Dir        string              // made by Start, removed by Close; socket, cookie, state
	Credential *syscall.Credential // who runs the server and may play; nil is this process's user
	Log        *slog.Logger
}

// Server is one running sound server.
type Server struct{}

func Start(ctx context.Context, cfg Config) (*Server, error) { return nil, errors.ErrUnsupported }

// Version is the server's, for a probe; ErrNotInstalled if there is none.
func Version(ctx context.Context) (string, error) { return "", ErrNotInstalled }

// Env is what the app needs to find the server.
func (s *Server) Env() []string { return nil }

// Server is the address for capture: "unix:/…/native".
func (s *Server) Server() string { return "" }

func (s *Server) Done() <-chan struct{} { return nil }
func (s *Server) Err() error            { return nil }
func (s *Server) Close() error          { return nil }
