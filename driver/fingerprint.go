package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/shared/structs"

	"github.com/nearcast/nearcast/internal/version"
	"github.com/nearcast/nearcast/internal/wire"
)

// A healthy node rarely changes. On an unhealthy one, an operator may just have
// installed what was missing.
const (
	healthyPeriod      = 5 * time.Minute
	unhealthyPeriod    = 20 * time.Second
	fingerprintTimeout = 90 * time.Second
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
		if found.Health != drivers.HealthStateHealthy || d.disk.tries() > 0 {
			pause = unhealthyPeriod
		}
		select {
		case <-time.After(pause):
		case <-d.disk.failed:
		case <-ctx.Done():
			return
		case <-d.ctx.Done():
			return
		}
	}
}

// look makes one fingerprint, mostly from what the stream host finds.
func (d *Driver) look(ctx context.Context) *drivers.Fingerprint {
	s, err := d.config()
	if err != nil {
		return unhealthy(drivers.HealthStateUndetected, err.Error())
	}
	streamHostPath, err := s.findStreamHost()
	if err != nil {
		return unhealthy(drivers.HealthStateUndetected, err.Error())
	}
	keeperPath, err := s.findSeatKeeper()
	if err != nil {
		return unhealthy(drivers.HealthStateUndetected, err.Error())
	}
	// First: on a disk that fails, the rest may take long.
	problem, slow := d.disk.look(s.cache.Dir)
	if problem != "" {
		return unhealthy(drivers.HealthStateUnhealthy, problem)
	}
	if slow != "" { // a program that reads from it would not end either
		return d.prints.slow(slow)
	}
	found, err := d.prints.run(ctx, streamHostPath, s.xServer, s.cache.Dir)
	if err != nil {
		return unhealthy(drivers.HealthStateUnhealthy, err.Error())
	}
	cells, err := d.prints.runKeeper(ctx, keeperPath)
	if err != nil {
		return unhealthy(drivers.HealthStateUnhealthy, err.Error())
	}
	problems := append(s.problems(), found.Problems...)
	clock := readClock()
	notes := append(append(found.Notes, s.cellNotes(cells)...), clock.notes()...)
	f := &drivers.Fingerprint{
		Health:            drivers.HealthStateHealthy,
		HealthDescription: drivers.DriverHealthy,
		Attributes: map[string]*structs.Attribute{
			"driver.stream":                     structs.NewBoolAttribute(true),
			"driver.stream.version":             structs.NewStringAttribute(version.String()),
			"driver.stream.stream_host_version": structs.NewStringAttribute(found.Version),
			"driver.stream.gstreamer":           structs.NewStringAttribute(found.GStreamer),
			"driver.stream.encoders":            structs.NewStringAttribute(strings.Join(only(found.Encoders, "264"), ",")),
			"driver.stream.encoders.vp8":        structs.NewStringAttribute(strings.Join(only(found.Encoders, "vp8"), ",")),
			"driver.stream.display":             structs.NewStringAttribute(found.Display),
			"driver.stream.sound":               structs.NewStringAttribute(found.Sound),
			"driver.stream.isolation":           structs.NewBoolAttribute(s.isolate),
			"driver.stream.gamepads":            structs.NewBoolAttribute(s.isolate && hasGamepads(streamHostPath)),
			"driver.stream.seat_keeper_version": structs.NewStringAttribute(cells.Version),
			"driver.stream.internet":            structs.NewBoolAttribute(s.isolate && cells.NoInternet == ""),
			"driver.stream.landlock":            structs.NewIntAttribute(int64(cells.Landlock), ""),
		},
	}
	clock.attributes(f.Attributes)
	switch {
	case len(problems) > 0:
		f.Health = drivers.HealthStateUnhealthy
		f.HealthDescription = strings.Join(problems, "; ")
	case len(notes) > 0:
		f.HealthDescription += ", but " + strings.Join(notes, "; ")
	}
	d.prints.last.Store(f)
	return f
}

func unhealthy(state drivers.HealthState, why string) *drivers.Fingerprint {
	return &drivers.Fingerprint{Health: state, HealthDescription: why}
}

// problems are what this configuration lacks on this node, each with what to do.
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

// cellNotes say what seats of this node lack, each with what to do. They run all the same.
func (s *settings) cellNotes(found wire.CellFingerprint) []string {
	if why := s.notIsolated(); why != "" {
		return []string{why}
	}
	if found.NoInternet != "" && slices.Contains(s.allow.networks, wire.NetworkInternet) {
		return []string{found.NoInternet}
	}
	return nil
}

// notIsolated says that apps are not isolated, and what to do; empty if they are.
func (s *settings) notIsolated() string {
	switch {
	case s.isolate:
		return ""
	case os.Geteuid() != 0:
		return "apps are not isolated: they run as the agent's user and can do all that it may do; for other people's apps run the agent as root"
	default:
		return "apps are not isolated: they see the node's files, processes and network; for other people's apps leave out isolate = false"
	}
}

// hasGamepads reports whether the library by which apps see gamepads is there.
func hasGamepads(streamHost string) bool {
	info, err := os.Stat(filepath.Join(filepath.Dir(streamHost), wire.GamepadLibrary))
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0
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

// A fingerprinter runs "stream-host fingerprint". It runs one at a time: each
// starts a display and tries every encoder.
type fingerprinter struct {
	busy chan struct{}
	last atomic.Pointer[drivers.Fingerprint]
}

// slow is the last fingerprint, with a note.
func (p *fingerprinter) slow(note string) *drivers.Fingerprint {
	last := p.last.Load()
	if last == nil {
		return unhealthy(drivers.HealthStateUnhealthy, note)
	}
	f := *last
	if f.Health == drivers.HealthStateHealthy {
		f.HealthDescription = drivers.DriverHealthy + ", but " + note
	}
	return &f
}

func newFingerprinter() *fingerprinter { return &fingerprinter{busy: make(chan struct{}, 1)} }

func (p *fingerprinter) run(ctx context.Context, streamHostPath string, display wire.XServer, cacheDir string) (found wire.Fingerprint, err error) {
	choice, err := json.Marshal(display)
	if err != nil {
		return found, fmt.Errorf("encode the display server: %w", err)
	}
	select {
	case p.busy <- struct{}{}:
		defer func() { <-p.busy }()
	case <-ctx.Done():
		return found, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, fingerprintTimeout)
	defer cancel()
	nonce := newNonce()
	cmd := exec.CommandContext(ctx, streamHostPath, "fingerprint", "--x-server", string(choice))
	cmd.Env = append(streamHostEnviron(os.Environ(), nil, nonce), registryEnviron(cacheDir, true)...)
	err = decodeOutput(cmd, &found)
	// It may have left processes that it started.
	killErr := killFamily(context.WithoutCancel(ctx), mark{nonce: nonce}, cgroup{})
	if err != nil {
		return found, err
	}
	if err := os.Chmod(registryPath(cacheDir), 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return found, fmt.Errorf("let stream hosts read GStreamer's registry: %w", err)
	}
	return found, killErr
}

// runKeeper runs "seat-keeper fingerprint", which starts no process.
func (p *fingerprinter) runKeeper(ctx context.Context, path string) (found wire.CellFingerprint, err error) {
	ctx, cancel := context.WithTimeout(ctx, fingerprintTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "fingerprint")
	cmd.Env = streamHostEnviron(os.Environ(), nil, newNonce())
	err = decodeOutput(cmd, &found)
	return found, err
}

// decodeOutput runs a program that prints a fingerprint.
func decodeOutput(cmd *exec.Cmd, found any) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && len(exit.Stderr) > 0 {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return fmt.Errorf("run %s fingerprint: %w", cmd.Path, err)
	}
	if err := json.Unmarshal(out, found); err != nil {
		return fmt.Errorf("decode the output of %s fingerprint: %w", cmd.Path, err)
	}
	return nil
}
