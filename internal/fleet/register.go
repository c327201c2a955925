package fleet

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/consul/api"
)

// progressEvery bounds how often a change of meta alone is written. Each write
// goes through the site's Raft log, and a download reports progress far more
// often than a page shows it.
const progressEvery = 500 * time.Millisecond

// againEvery is how often a record that stays after its process is written again.
const againEvery = 5 * time.Second

// maxMeta is the longest value that Consul takes in service meta, in bytes.
const maxMeta = 512

// record is a service as it should be in the catalog.
type record struct {
	id, name string
	address  string
	port     int
	meta     map[string]string
	status   string // of the check
	// keep is how long the record stays after its process went silent; 0 is deregister.
	keep time.Duration
}

func (r record) equal(o record) bool {
	return r.id == o.id && r.name == o.name && r.address == o.address && r.port == o.port &&
		r.status == o.status && maps.Equal(r.meta, o.meta)
}

func newRecord(id, name, hostport string, meta map[string]string, status string) (record, error) {
	host, portText, err := net.SplitHostPort(hostport)
	if err != nil {
		return record{}, fmt.Errorf("register %s: address %q is not host:port: %w", id, hostport, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 {
		return record{}, fmt.Errorf("register %s: address %q needs a port from 1 to 65535", id, hostport)
	}
	clean := make(map[string]string, len(meta))
	for k, v := range meta {
		clean[k] = cut(strings.ToValidUTF8(v, "?"), maxMeta)
	}
	return record{id: id, name: name, address: host, port: int(port), meta: clean, status: status}, nil
}

// cut shortens s to at most n bytes between two characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// registration keeps one record in the catalog by a goroutine of its own, so
// that Update never waits for Consul.
type registration struct {
	fleet *Fleet
	stop  context.CancelFunc
	wake  chan struct{}
	done  chan struct{}

	mu   sync.Mutex
	want record
	stay bool // leave the record where it is at the end
}

func (f *Fleet) register(ctx context.Context, first record) *registration {
	ctx, stop := context.WithCancel(ctx)
	r := &registration{
		fleet: f, stop: stop, want: first,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	go r.run(ctx)
	return r
}

func (r *registration) set(want record) {
	r.mu.Lock()
	r.want = want
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default: // it is awake already and will read the newest record
	}
}

func (r *registration) wanted() record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.want
}

// Close removes the registration from Consul and waits for that, three seconds at
// most: an agent that does not answer removes it when the TTL has run out. It
// may be called more than once.
func (r *registration) Close() {
	r.stop()
	<-r.done
}

func (r *registration) run(ctx context.Context) {
	defer close(r.done)
	defer r.remove()

	var (
		have     record // what Consul was last told
		written  time.Time
		failures int
	)
	for {
		want := r.wanted()
		wait := heartbeat
		switch {
		case have.id != "" && have.status == want.status && have.meta["state"] == want.meta["state"] &&
			!have.equal(want) && time.Since(written) < progressEvery:
			wait = progressEvery - time.Since(written)
		default:
			known := have.id != "" && have.equal(want)
			// Another process may have taken over a record that stays: an agent that has it
			// already as it is writes nothing to its servers.
			known = known && (want.keep == 0 || time.Since(written) < againEvery)
			err := r.tell(ctx, want, known)
			switch {
			case err == nil:
				if !known {
					written = time.Now()
				}
				if failures > 0 {
					r.fleet.log.Info("consul has the registration again", "service", want.id)
				}
				have, failures = want, 0
			case ctx.Err() != nil:
				return
			default:
				failures++
				if failures == 1 {
					r.fleet.log.Warn("consul did not take the registration; retrying", "service", want.id, "error", err)
				}
				// The agent may have forgotten everything: say it all again.
				have = record{}
				if wait = backOff(failures, heartbeat); failures == 1 && missing(err) {
					wait = 0 // it is there, and only lost its memory
				}
			}
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		case <-r.wake:
			t.Stop()
			if failures > 0 && !sleep(ctx, backOff(failures, heartbeat)) {
				return
			}
		}
	}
}

// tell writes the record, or only refreshes its check where Consul knows it.
func (r *registration) tell(ctx context.Context, want record, known bool) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// A request that is broken off may be carried out all the same, and after the
	// deregistration that follows. So it has half a second to end by itself.
	stopped := ctx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	defer context.AfterFunc(stopped, func() { time.AfterFunc(time.Second/2, cancel) })()
	agent := r.fleet.consul.Agent()
	check := "service:" + want.id
	if !known {
		err := agent.ServiceRegisterOpts(&api.AgentServiceRegistration{
			ID: want.id, Name: want.name, Address: want.address, Port: want.port, Meta: want.meta,
			Check: &api.AgentServiceCheck{
				CheckID: check, TTL: checkTTL.String(), Status: want.status,
				DeregisterCriticalServiceAfter: cmp.Or(want.keep, deregister).String(),
			},
		}, api.ServiceRegisterOpts{ReplaceExistingChecks: true}.WithContext(ctx))
		if err != nil {
			return fmt.Errorf("register %s: %w", want.id, err)
		}
	}
	// Also after registering: Consul gives a check that it knew its old status,
	// not the one in the registration. The output stays the same always, because
	// a change of output alone would cost a write each time.
	err := agent.UpdateTTLOpts(check, "", want.status, (&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return fmt.Errorf("refresh %s: %w", want.id, err)
	}
	return nil
}

func (r *registration) remove() {
	r.mu.Lock()
	stay := r.stay
	r.mu.Unlock()
	if stay {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	want := r.wanted()
	err := r.fleet.consul.Agent().ServiceDeregisterOpts(want.id, (&api.QueryOptions{}).WithContext(ctx))
	if err != nil && !missing(err) {
		r.fleet.log.Warn("deregister", "service", want.id, "error", err)
	}
}
