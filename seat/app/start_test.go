package app

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestExitIsExact(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		for _, c := range []struct {
			script    string
			code, sig int
		}{
			{"exit 0", 0, 0},
			{"exit 3", 3, 0},
			{"exit 137", 137, 0},
			{"kill -ABRT $$", 0, int(unix.SIGABRT)},
			{"kill -KILL $$", 0, int(unix.SIGKILL)},
			{"ulimit -c 0; kill -SEGV $$", 0, int(unix.SIGSEGV)},
		} {
			p := run(t, sh(cfg, c.script))
			wait(t, p)
			if code, sig := p.Exit(); code != c.code || sig != c.sig {
				t.Errorf("%s: exit %d, signal %d; want %d, %d", c.script, code, sig, c.code, c.sig)
			}
			if err := p.Signal("SIGHUP"); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("Signal after the end: %v", err)
			}
			if err := p.Stop("", 0); err != nil {
				t.Errorf("Stop after the end: %v", err)
			}
		}
	})
}

func TestStartErrors(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		file := filepath.Join(cfg.Dir, "plain")
		testkit.Must(t, os.WriteFile(file, []byte("no program"), 0o644))
		garbage := filepath.Join(cfg.Dir, "garbage")
		testkit.Must(t, os.WriteFile(garbage, []byte{1, 2, 3}, 0o755))
		script := filepath.Join(cfg.Dir, "script")
		testkit.Must(t, os.WriteFile(script, []byte("#!/no/such/interpreter\n"), 0o755))
		set := func(change func(*Config)) Config {
			c := cfg
			c.Command = "/bin/true"
			change(&c)
			return c
		}
		for name, c := range map[string]struct {
			cfg  Config
			code string
			has  string
		}{
			"no command":        {set(func(c *Config) { c.Command = "" }), wire.CodeAppNotFound, "command"},
			"missing":           {set(func(c *Config) { c.Command = "/no/such/game" }), wire.CodeAppNotFound, "/no/such/game does not exist"},
			"missing relative":  {set(func(c *Config) { c.Command = "local/game" }), wire.CodeAppNotFound, "local/game does not exist"},
			"not in PATH":       {set(func(c *Config) { c.Command = "nosuchgame" }), wire.CodeAppNotFound, "PATH"},
			"not executable":    {set(func(c *Config) { c.Command = file }), wire.CodeAppNotFound, "not executable"},
			"directory":         {set(func(c *Config) { c.Command = cfg.Dir }), wire.CodeAppNotFound, "directory"},
			"no format":         {set(func(c *Config) { c.Command = garbage }), wire.CodeAppNotFound, "cannot be executed"},
			"no interpreter":    {set(func(c *Config) { c.Command = script }), wire.CodeAppNotFound, "interpreter"},
			"unknown user":      {set(func(c *Config) { c.User = "no-such-user" }), wire.CodeConfig, "no-such-user"},
			"no directory":      {set(func(c *Config) { c.Dir = "/no/such/dir" }), wire.CodeConfig, "/no/such/dir"},
			"unknown network":   {set(func(c *Config) { c.Network = "bridge" }), wire.CodeConfig, "bridge"},
			"unopenable output": {set(func(c *Config) { c.Stdout = "/no/such/dir/out" }), wire.CodeConfig, "/no/such/dir/out"},
		} {
			p, err := Start(within(t), c.cfg)
			if p != nil {
				p.Stop("SIGKILL", time.Second)
			}
			var end wire.End
			if !errors.As(err, &end) || end.Reason != wire.ReasonError || end.Code != c.code || !strings.Contains(end.Detail, c.has) {
				t.Errorf("%s: %v, want %s with %q", name, err, c.code, c.has)
			}
		}
	})
}

func TestCommandIsFoundByName(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		testkit.Must(t, os.WriteFile(filepath.Join(cfg.Dir, "game"), []byte("#!/bin/sh\nexit 7\n"), 0o755))
		for _, c := range []struct {
			command string
			code    int
		}{{"false", 1}, {"game", 7}, {"./game", 7}} {
			cfg := cfg
			cfg.Command = c.command
			p := run(t, cfg)
			wait(t, p)
			if code, _ := p.Exit(); code != c.code {
				t.Errorf("%s: exit %d, want %d", c.command, code, c.code)
			}
		}
	})
}

func TestOutputOverFIFO(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		fifo := filepath.Join(cfg.Dir, "fifo")
		testkit.Must(t, unix.Mkfifo(fifo, 0o600))
		cfg.Stdout = fifo
		p := run(t, sh(cfg, "echo hello; exec sleep 1000")) // opens without a reader
		r, err := os.OpenFile(fifo, os.O_RDWR, 0)
		testkit.Must(t, err)
		defer r.Close()
		line, err := bufio.NewReader(r).ReadString('\n')
		if err != nil || line != "hello\n" {
			t.Errorf("read %q, %v", line, err)
		}
		testkit.Must(t, p.Stop("SIGKILL", 0))
	})
}

// TestHomeIsNotALink: content may contain a link to a place that it must not write.
func TestHomeIsNotALink(t *testing.T) {
	dir, victim := openDir(t), openDir(t)
	testkit.Must(t, os.Symlink(victim, filepath.Join(dir, ".nearcast")))
	_, err := Start(within(t), Config{Command: "/bin/true", Dir: dir})
	var end wire.End
	if !errors.As(err, &end) || end.Code != wire.CodeConfig {
		t.Errorf("home through a link: %v", err)
	}
}
