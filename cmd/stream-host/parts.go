package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat"
	"github.com/nearcast/nearcast/seat/app"
	"github.com/nearcast/nearcast/seat/capture"
	"github.com/nearcast/nearcast/seat/content"
	"github.com/nearcast/nearcast/seat/display"
	"github.com/nearcast/nearcast/seat/input"
	"github.com/nearcast/nearcast/seat/peer"
	"github.com/nearcast/nearcast/seat/sound"
)

// openLog logs into the run directory, which stays when this process is killed.
func openLog(spec wire.Spec) (*slog.Logger, error) {
	path := filepath.Join(spec.RunDir, wire.LogFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	log := slog.New(slog.NewJSONHandler(f, &slog.HandlerOptions{Level: slog.LevelInfo}))
	return log.With("alloc", spec.Alloc, "app", spec.App), nil
}

// seatDir is where display, sound and app keep their sockets and secrets. It is
// made with the first of them and goes with the last.
type seatDir struct {
	path string
	cred *syscall.Credential
	link string // in the run directory, to path; empty where Nomad removes path
}

// newSeatDir makes a directory below the task's, so that Nomad removes it even
// if this process is killed. Its name cannot be guessed, since the task
// directory may be the app's own. Display and sound run as the app's user, but
// see the node as it is: where that user cannot reach the task's directory, it
// is one for temporary files, of which a link in the run directory tells.
func newSeatDir(spec wire.Spec) (seatDir, error) {
	cred, err := credential(spec.User)
	if err != nil {
		return seatDir{}, err
	}
	base := spec.TaskDir
	reached, err := app.CanReach(spec.User, base)
	if err != nil {
		return seatDir{}, wire.End{Reason: wire.ReasonError, Code: wire.CodeConfig, Detail: err.Error()}
	}
	if !reached || len(base) > maxBase {
		base = os.TempDir()
	}
	path, err := os.MkdirTemp(base, ".nearcast-")
	if err != nil {
		return seatDir{}, fmt.Errorf("make the seat's directory: %w", err)
	}
	d := seatDir{path: path, cred: cred}
	if base != spec.TaskDir {
		d.link = filepath.Join(spec.RunDir, wire.ScratchLink)
		if err := os.Symlink(path, d.link); err != nil {
			return seatDir{}, errors.Join(fmt.Errorf("remember the seat's directory: %w", err), d.Close())
		}
	}
	if err := errors.Join(os.Chmod(path, 0o711), d.own("x"), d.own("home")); err != nil {
		return seatDir{}, errors.Join(fmt.Errorf("make the seat's directory: %w", err), d.Close())
	}
	return d, nil
}

// maxBase leaves room for the name of a unix socket below, which the kernel
// limits to 107 bytes in all.
const maxBase = 72

func (d seatDir) sub(name string) string { return filepath.Join(d.path, name) }

// own makes a directory that only the app's user can enter.
func (d seatDir) own(name string) error {
	if err := os.Mkdir(d.sub(name), 0o700); err != nil {
		return err
	}
	if d.cred == nil {
		return nil
	}
	return os.Lchown(d.sub(name), int(d.cred.Uid), int(d.cred.Gid))
}

func (d seatDir) Close() error {
	err := os.RemoveAll(d.path)
	if d.link != "" && err == nil {
		err = os.Remove(d.link)
	}
	return err
}

// credential is the app's user: a name, or uid[:gid]. Nil is this process's own.
func credential(name string) (*syscall.Credential, error) {
	if name == "" {
		return nil, nil
	}
	unknown := func(why any) error {
		return wire.End{Reason: wire.ReasonError, Code: wire.CodeConfig, Detail: fmt.Sprintf("user %q: %v", name, why)}
	}
	uidText, gidText, hasGID := strings.Cut(name, ":")
	if _, err := strconv.ParseUint(uidText, 10, 32); err != nil || !hasGID {
		u, err := user.Lookup(uidText)
		if err != nil {
			u, err = user.LookupId(uidText)
		}
		switch {
		case err == nil && !hasGID:
			uidText, gidText = u.Uid, u.Gid
		case err == nil:
			uidText = u.Uid
		case hasGID:
			return nil, unknown(err)
		default:
			gidText = uidText // a bare number without an account
		}
	}
	uid, errU := strconv.ParseUint(uidText, 10, 32)
	gid, errG := strconv.ParseUint(gidText, 10, 32)
	if err := errors.Join(errU, errG); err != nil {
		return nil, unknown("there is no such user; give a name or uid:gid")
	}
	if int(uid) == os.Geteuid() {
		return nil, nil
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// newParts wires the real parts of a seat.
func newParts(spec wire.Spec, log *slog.Logger) seat.Parts {
	p := &parts{spec: spec, log: log}
	return seat.Parts{
		Freeze:  seat.FreezePolicy{Quiet: orElse(spec.FreezeQuietS, freezeQuiet), Latest: orElse(spec.FreezeLatestS, freezeLatest)},
		Content: p.content, Display: p.display, Sound: p.sound, App: p.app, Input: p.input,
		Video: p.video, Audio: p.audio, Peer: p.peer, Verify: p.verify, Register: p.register,
	}
}

type parts struct {
	spec wire.Spec
	log  *slog.Logger
	dir  seatDir
	// devices are what the app draws with, known once there is a display.
	devices []string
	// verifier reads the routers' keys when the first ticket comes: a seat may
	// start before its node has them.
	keysMu   sync.Mutex
	verifier *ticket.Verifier
}

func (p *parts) content(ctx context.Context, progress func(done, total int64, name string)) (io.Closer, error) {
	cred, err := credential(p.spec.User)
	if err != nil {
		return nil, err
	}
	return content.Fetch(ctx, content.Request{
		Store: p.spec.S3, Items: p.spec.Content, Cache: p.spec.Cache, TaskDir: p.spec.TaskDir,
		Private: cred == nil, Progress: progress,
	})
}

// screen is a display whose end takes the seat's directory along.
type screen struct {
	*display.Display
	dir seatDir
}

func (s screen) Close() error { return errors.Join(s.Display.Close(), s.dir.Close()) }

func (p *parts) display(ctx context.Context) (seat.Display, error) {
	var err error
	if p.dir, err = newSeatDir(p.spec); err != nil {
		return nil, err
	}
	d, err := display.Start(ctx, display.Config{
		Width: p.spec.Display.Width, Height: p.spec.Display.Height,
		// The run directory is root's alone, as Xorg's files must be.
		Server: p.spec.XServer, Dir: p.spec.RunDir,
		AuthDir: p.dir.sub("x"), Credential: p.dir.cred, Log: p.log,
	})
	if err != nil {
		return nil, errors.Join(err, p.dir.Close())
	}
	p.log.Info("display", "server", d.Server())
	p.devices = d.Devices()
	return screen{d, p.dir}, nil
}

func (p *parts) sound(ctx context.Context) (seat.Sound, error) {
	s, err := sound.Start(ctx, sound.Config{Dir: p.dir.sub("s"), Credential: p.dir.cred, Log: p.log})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (p *parts) app(ctx context.Context, env []string) (seat.App, error) {
	all := maps.Clone(p.spec.Env)
	if all == nil {
		all = map[string]string{}
	}
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		all[name] = value
	}
	hide, show := hidden(p.spec)
	a, err := app.Start(ctx, app.Config{
		Command: p.spec.Command, Args: p.spec.Args, Env: all, Dir: p.spec.TaskDir, Home: p.dir.sub("home"),
		User: p.spec.User, Stdout: p.spec.Stdout, Stderr: p.spec.Stderr,
		Isolate: p.spec.Isolate, Network: p.spec.Network, Mounts: p.spec.Mounts, Hide: hide, Show: append(show, p.dir.path),
		Devices: p.devices, Log: p.log,
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// hidden is what the app must not see even if a file's mode let it: the seat's
// own sockets, the cache, and the directories of other allocations.
func hidden(spec wire.Spec) (hide, show []string) {
	hide = append(hide, spec.RunDir)
	if spec.Cache.Dir != "" {
		hide = append(hide, spec.Cache.Dir)
	}
	for dir := spec.TaskDir; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		if spec.Alloc != "" && filepath.Base(dir) == spec.Alloc {
			return append(hide, filepath.Dir(dir)), append(show, dir)
		}
	}
	return hide, append(show, spec.TaskDir)
}

// When idle apps are frozen, where the job does not say.
const (
	freezeQuiet  = 2 * time.Second
	freezeLatest = time.Minute
)

func orElse(seconds int, otherwise time.Duration) time.Duration {
	if seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	return otherwise
}

func (p *parts) input(d seat.Display) (seat.Input, error) {
	s := d.(screen)
	in, err := input.Open(s.Name(), s.Authority(), p.spec.Display.Width, p.spec.Display.Height)
	if err != nil {
		return nil, err
	}
	// Games that take the mouse know keys by their place: W A S D on every layout.
	in.PreferPlace(p.spec.Display.Pointer == wire.PointerRelative)
	return in, nil
}

func (p *parts) video(ctx context.Context, d seat.Display, frame func(seat.Frame)) (seat.Capture, error) {
	s := d.(screen)
	v, err := capture.Start(ctx, capture.Config{
		Display: s.Name(), XAuthority: s.Authority(),
		Width: p.spec.Display.Width, Height: p.spec.Display.Height, FPS: p.spec.Display.FPS,
		Codec: p.spec.Video.Codec, Encoder: p.spec.Video.Encoder, BitrateBPS: p.spec.Video.BitrateBPS,
		OnFrame: func(f capture.Frame) { frame(seat.Frame{Data: f.Data, Keyframe: f.Keyframe, PTS: f.PTS}) },
		Log:     p.log,
	})
	if err != nil {
		return nil, err
	}
	p.log.Info("encoder", "element", v.Encoder())
	return v, nil
}

func (p *parts) audio(ctx context.Context, s seat.Sound, frame func(seat.Frame)) (seat.Source, error) {
	a, err := capture.StartAudio(ctx, capture.AudioConfig{
		PulseServer: s.(*sound.Server).Server(), Source: sound.Source,
		OnFrame: func(f capture.Frame) { frame(seat.Frame{Data: f.Data, PTS: f.PTS}) },
		Log:     p.log,
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// connection is peer.Peer with the frames of package host.
type connection struct{ *peer.Peer }

func (b connection) WriteVideo(f seat.Frame) error { return b.Peer.WriteVideo(peer.Frame(f)) }
func (b connection) WriteAudio(f seat.Frame) error { return b.Peer.WriteAudio(peer.Frame(f)) }

func (p *parts) peer(c seat.PeerConfig) (seat.Peer, error) {
	made, err := peer.New(peer.Config{
		Listen: p.spec.Listen, Codec: p.spec.Video.Codec, Audio: p.spec.Display.Audio,
		OnInput: c.OnInput, OnKeyframe: c.OnKeyframe, OnBitrate: c.OnBitrate, OnCandidate: c.OnCandidate,
		OnState: func(s peer.State) {
			switch s {
			case peer.Connected:
				c.OnState(seat.PeerConnected)
			case peer.Disconnected:
				c.OnState(seat.PeerDisconnected)
			case peer.Closed:
				c.OnState(seat.PeerClosed)
			}
		},
		MaxBitrateBPS: p.spec.Video.BitrateBPS, Log: p.log,
	})
	if err != nil {
		return nil, err
	}
	return connection{made}, nil
}

func (p *parts) verify(token string) (seat.Claims, error) {
	verifier, err := p.keys()
	if err != nil {
		p.log.Error("read ticket keys", "error", err)
		return seat.Claims{}, errors.New("the seat cannot check tickets: see its log")
	}
	c, err := verifier.Verify(token)
	return seat.Claims{Session: c.Session, App: c.App}, err
}

func (p *parts) keys() (*ticket.Verifier, error) {
	p.keysMu.Lock()
	defer p.keysMu.Unlock()
	if p.verifier != nil {
		return p.verifier, nil
	}
	var err error
	p.verifier, err = ticket.LoadVerifier(p.spec.TicketKeys)
	return p.verifier, err
}

func (p *parts) register(ctx context.Context, seat wire.Seat) (seat.Registration, error) {
	f, err := fleet.Open(fleet.Config{Address: p.spec.Consul.Address, Token: p.spec.Consul.Token, Log: p.log})
	if err != nil {
		return nil, err
	}
	r, err := f.RegisterSeat(ctx, seat)
	if err != nil {
		return nil, err
	}
	return r, nil
}
