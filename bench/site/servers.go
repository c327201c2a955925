package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// server is a brain or a router.
type server struct {
	*process
	name, url, internal string

	mu  sync.Mutex
	key string // once it is known
}

// startBrain starts a brain with the limits of its job.
func (s *site) startBrain(bin string, i int, nomad string) error {
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	b := &server{name: fmt.Sprintf("brain-%d", i+1), url: fmt.Sprintf("ws://127.0.0.1:%d/v1/connect", ports[0]), internal: fmt.Sprintf("127.0.0.1:%d", ports[1])}
	cmd := exec.Command(bin, "brain", "--listen", fmt.Sprintf("127.0.0.1:%d", ports[0]), "--internal-listen", b.internal, "--site", siteName,
		"--name", b.name, "--consul", s.consul.address, "--nomad", nomad, "--namespace", namespace, "--default-access", "public",
		"--ticket-keys", filepath.Join(s.dir, ticket.PublicKeysFile))
	cmd.Env = append(testkit.Environ(), "GOMEMLIMIT="+brainMemory)
	if b.process, err = spawn(filepath.Join(s.dir, b.name+".log"), cmd); err != nil {
		return err
	}
	s.brains = append(s.brains, b)
	return nil
}

func (s *site) startRouter(bin string, i int) error {
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	r := &server{name: fmt.Sprintf("router-%d", i+1), url: fmt.Sprintf("http://127.0.0.1:%d", ports[0])}
	cmd := exec.Command(bin, "router", "--listen", fmt.Sprintf("127.0.0.1:%d", ports[0]), "--internal-listen", fmt.Sprintf("127.0.0.1:%d", ports[1]),
		"--site", siteName, "--name", r.name, "--consul", s.consul.address, "--ticket-key", filepath.Join(s.dir, ticket.PrivateKeyFile))
	cmd.Env = testkit.Environ()
	if r.process, err = spawn(filepath.Join(s.dir, r.name+".log"), cmd); err != nil {
		return err
	}
	s.routers = append(s.routers, r)
	return nil
}

// ready waits until the brains have published all seats as idle, and each answers.
func (s *site) ready() error {
	if err := s.feeds.followed(s.ctx); err != nil {
		return err
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for _, b := range s.brains {
		if err := until(s.ctx, 3*time.Minute, b.name+" is ready", func() error {
			if err := b.alive(); err != nil {
				return err
			}
			resp, err := client.Get("https://" + b.internal + "/healthz")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
				return fmt.Errorf("%s: %s", resp.Status, text)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if err := until(s.ctx, 3*time.Minute, "the capacity is published", func() error {
		return s.capacity(func(app string, c wire.Capacity, want int) error {
			if c.Idle < want {
				return fmt.Errorf("%s has %+v, and not %d idle seats; the last of brain-1's log: %s", app, c, want, tail(s.brains[0].log))
			}
			return nil
		})
	}); err != nil {
		return err
	}
	for _, r := range s.routers {
		if err := until(s.ctx, time.Minute, r.name+" knows the apps", func() error { return s.lists(client, r) }); err != nil {
			return err
		}
	}
	return nil
}

// lists is an error where a router does not know all apps yet.
func (s *site) lists(client *http.Client, r *server) error {
	resp, err := client.Get(r.url + "/v1/apps")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var list wire.AppsResponse
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return fmt.Errorf("%s: %w", resp.Status, err)
	}
	if len(list.Apps) < s.apps {
		return fmt.Errorf("it lists %d of %d", len(list.Apps), s.apps)
	}
	return nil
}
