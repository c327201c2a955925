package dev

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
)

func (c *Cluster) start(s service) {
	s.do = c.at.do
	c.add(startProcess(s, c.logger, c.save))
}

func (c *Cluster) add(p part) {
	c.mu.Lock()
	c.parts = append(c.parts, p)
	c.mu.Unlock()
	c.save()
}

func (c *Cluster) part(name string) (part, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.parts {
		if status, _ := p.snapshot(); status.Name == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("no part %q in this cluster", name)
}

// Wait returns when a part serves: "consul", "nomad-server", "nomad" (the client,
// where seats run), "s3", "router" or "brain".
func (c *Cluster) Wait(ctx context.Context, name string) error {
	p, err := c.part(name)
	if err != nil {
		return err
	}
	return p.wait(ctx)
}

// Kill ends a part as kill -9 does, and returns when it has exited. It is restarted
// at once: Wait for that.
func (c *Cluster) Kill(ctx context.Context, name string) error {
	p, err := c.part(name)
	if err != nil {
		return err
	}
	before, _ := p.snapshot()
	if err := p.kill(syscall.SIGKILL); err != nil {
		return err
	}
	for {
		now, changed := p.snapshot()
		if now.PID != before.PID || now.Started != before.Started {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for the exit of %s: %w", name, ctx.Err())
		}
	}
}

func (c *Cluster) status(name string) (s ProcessStatus) {
	if p, err := c.part(name); err == nil {
		s, _ = p.snapshot()
	}
	return s
}

// environ is the environment of each child process: that of this process without the
// settings of other clusters, with the mark and with add.
func (c *Cluster) environ(add ...string) []string { return append(markedEnviron(c.Dir), add...) }

func markedEnviron(dir string) []string {
	var env []string
	for _, kv := range os.Environ() {
		foreign := false
		// A Nomad agent does not even start with AWS_CA_BUNDLE set.
		for _, prefix := range []string{"AWS_", "CONSUL_", "NOMAD_", "VAULT_", "NEARCAST_"} {
			foreign = foreign || strings.HasPrefix(kv, prefix)
		}
		if !foreign {
			env = append(env, kv)
		}
	}
	return append(env, Mark(dir))
}
