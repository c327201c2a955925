package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/shared/structs"

	"github.com/nearcast/nearcast/internal/version"
	"github.com/nearcast/nearcast/internal/wire"
)

// A healthy machine rarely changes; one that lacks something is looked at
// again soon after somebody installed it.
const (
	healthyPeriod   = 5 * time.Minute
	unhealthyPeriod = 20 * time.Second
	probeTimeout    = 90 * time.Second
)

func (d *Driver) fingerprint(ctx context.Context, out chan<- *drivers.Fingerprint) {
	defer close(out)
	for {
		found := d.look(ctx)
		select {
		case out <- found:
		case <-ctx.Done():
			return
		case <-d.ctx.Done():
			return
		}
		pause := healthyPeriod
		if found.Health != drivers.HealthStateHealthy {
			pause = unhealthyPeriod
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		case <-d.ctx.Done():
			return
		}
	}
}

// look asks the stream host what this machine can do.
func (d *Driver) look(ctx context.Context) *drivers.Fingerprint {
	s, err := d.config()
	if err != nil {
		return unhealthy(drivers.HealthStateUndetected, err.Error())
	}
	hostPath, err := s.findHost()
	if err != nil {
		return unhealthy(drivers.HealthStateUndetected, err.Error())
	}
	probe, err := d.probe.run(ctx, hostPath, s.xServer)
	if err != nil {
		return unhealthy(drivers.HealthStateUnhealthy, err.Error())
	}
	problems := append(s.problems(), probe.Problems...)
	f := &drivers.Fingerprint{
		Health:            drivers.HealthStateHealthy,
		HealthDescription: drivers.DriverHealthy,
		Attributes: map[string]*structs.Attribute{
			"driver.stream":                     structs.NewBoolAttribute(true),
			"driver.stream.version":             structs.NewStringAttribute(version.String()),
			"driver.stream.stream_host_version": structs.NewStringAttribute(probe.Version),
			"driver.stream.gstreamer":           structs.NewStringAttribute(probe.GStreamer),
			"driver.stream.encoders":            structs.NewStringAttribute(strings.Join(only(probe.Encoders, "264"), ",")),
			"driver.stream.encoders.vp8":        structs.NewStringAttribute(strings.Join(only(probe.Encoders, "vp8"), ",")),
			"driver.stream.display":             structs.NewStringAttribute(probe.Display),
			"driver.stream.sound":               structs.NewStringAttribute(probe.Sound),
			"driver.stream.isolation":           structs.NewBoolAttribute(s.isolate),
		},
	}
	switch {
	case len(problems) > 0:
		f.Health = drivers.HealthStateUnhealthy
		f.HealthDescription = strings.Join(problems, "; ")
	case len(probe.Notes) > 0:
		f.HealthDescription += ", but " + strings.Join(probe.Notes, "; ")
	}
	return f
}

func unhealthy(state drivers.HealthState, why string) *drivers.Fingerprint {
	return &drivers.Fingerprint{Health: state, HealthDescription: why}
}

// problems is what this configuration lacks on this machine, each with what to do.
func (s *settings) problems() []string {
	var out []string
	switch {
	case s.ticketKeys == "":
		out = append(out, "ticket_keys is not set: name the PEM file with the routers' public keys in the plugin's config")
	default:
		f, err := os.Open(s.ticketKeys)
		if err != nil {
			out = append(out, fmt.Sprintf("ticket_keys: %v: put the routers' public keys there", err))
			break
		}
		f.Close()
	}
	for _, d := range []struct {
		field, dir string
		mode       os.FileMode
	}{{"run_dir", s.runDir, 0o700}, {"cache.dir", s.cache.Dir, 0o755}} {
		if err := os.MkdirAll(d.dir, d.mode); err != nil {
			out = append(out, fmt.Sprintf("%s: %v: name a directory that the agent may write to", d.field, err))
		}
	}
	return out
}

func only(names []string, part string) []string {
	var out []string
	for _, n := range names {
		if strings.Contains(n, part) {
			out = append(out, n)
		}
	}
	return out
}

// A prober asks a stream host binary what the machine can do. One question at a
// time: it starts a display and tries every encoder.
type prober struct{ busy chan struct{} }

func newProber() *prober { return &prober{busy: make(chan struct{}, 1)} }

func (p *prober) run(ctx context.Context, hostPath string, display wire.XServer) (probe wire.Fingerprint, err error) {
	choice, err := json.Marshal(display)
	if err != nil {
		return probe, fmt.Errorf("encode the display server: %w", err)
	}
	select {
	case p.busy <- struct{}{}:
		defer func() { <-p.busy }()
	case <-ctx.Done():
		return probe, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	nonce := newNonce()
	cmd := exec.CommandContext(ctx, hostPath, "fingerprint", "--x-server", string(choice))
	cmd.Env = hostEnviron(os.Environ(), nil, nonce)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	// Whatever it started and did not end.
	killErr := killFamily(context.WithoutCancel(ctx), nonce, cgroup{})
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && len(exit.Stderr) > 0 {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return probe, fmt.Errorf("run %s fingerprint: %w", hostPath, err)
	}
	if err := json.Unmarshal(out, &probe); err != nil {
		return probe, fmt.Errorf("decode what %s fingerprint says: %w", hostPath, err)
	}
	return probe, killErr
}
