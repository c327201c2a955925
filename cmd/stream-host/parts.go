package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"sync"
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

// newParts connects the packages below seat with the interfaces of seat.
func newParts(spec wire.Spec, log *slog.Logger) seat.Parts {
	p := &parts{spec: spec, log: log}
	return seat.Parts{
		Freeze:  seat.FreezePolicy{Quiet: secondsOr(spec.FreezeQuietS, freezeQuiet), Latest: secondsOr(spec.FreezeLatestS, freezeLatest)},
		Content: p.content, Display: p.display, Sound: p.sound, App: p.app, Input: p.input,
		Video: p.video, Audio: p.audio, Peer: p.peer, Verify: p.verify, Register: p.register,
	}
}

type parts struct {
	spec wire.Spec
	log  *slog.Logger
	dir  seatDir
	// devices are the display's device files. They are known once it runs.
	devices []string
	// verifier is made when the first ticket comes: a seat may start before its
	// node has the routers' keys.
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

// screen is a display that removes the seat's directory when it closes.
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
		// Only root can write to the run directory, as Xorg requires.
		Server: p.spec.XServer, Dir: p.spec.RunDir,
		AuthDir: p.dir.sub("x"), Credential: p.dir.cred, Log: p.log,
	})
	if err != nil {
		return nil, errors.Join(err, p.dir.Close())
	}
	p.log.Info("display started", "server", d.Server())
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

// hidden lists what the app must not see even where file modes allow it: the
// run directory, the cache, and the directories of other allocations. show lists
// the exceptions.
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

// When an idle app is frozen, unless the job says otherwise.
const (
	freezeQuiet  = 2 * time.Second
	freezeLatest = time.Minute
)

func secondsOr(seconds int, otherwise time.Duration) time.Duration {
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
	// Games that grab the mouse use keys by their position: W A S D on every layout.
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
	p.log.Info("encoder started", "element", v.Encoder())
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

// connection is a peer.Peer that takes the frames of package seat.
type connection struct{ *peer.Peer }

func (c connection) WriteVideo(f seat.Frame) error { return c.Peer.WriteVideo(peer.Frame(f)) }
func (c connection) WriteAudio(f seat.Frame) error { return c.Peer.WriteAudio(peer.Frame(f)) }

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
		return seat.Claims{}, errors.New("the seat cannot read the ticket keys; its log says why")
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
