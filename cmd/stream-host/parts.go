package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/params"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat"
	"github.com/nearcast/nearcast/seat/app"
	"github.com/nearcast/nearcast/seat/capture"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/clipboard"
	"github.com/nearcast/nearcast/seat/display"
	"github.com/nearcast/nearcast/seat/gamepad"
	"github.com/nearcast/nearcast/seat/input"
	"github.com/nearcast/nearcast/seat/messages"
	"github.com/nearcast/nearcast/seat/peer"
	"github.com/nearcast/nearcast/seat/sound"
)

// parts connects the packages below seat with the interfaces of seat.
type parts struct {
	spec   wire.Spec
	log    *slog.Logger
	keeper *cell.Keeper
	consul *fleet.Fleet
	// cell is there once celled is closed.
	cell   *cell.Client
	celled chan struct{}
	// padLibrary is that by which the app sees gamepads; padFiles with padConns are devices
	// in its place.
	padLibrary     string
	padFiles       []string
	padConns       []*net.UnixConn
	tools          string   // a directory for the app's PATH
	stdout, stderr *os.File // of the app
}

func (p *parts) all() (seat.Parts, error) {
	me, err := identity.New()
	if err != nil {
		return seat.Parts{}, err
	}
	p.consul, err = fleet.Open(fleet.Config{Address: p.spec.Consul.Address, Token: p.spec.Consul.Token, Log: p.log})
	if err != nil {
		return seat.Parts{}, err
	}
	return seat.Parts{
		Identity: me, Peers: p.consul.Peers(wire.BrainService, wire.DrainService),
		Freeze: seat.FreezePolicy{Quiet: secondsOr(p.spec.FreezeQuietS, freezeQuiet), Latest: secondsOr(p.spec.FreezeLatestS, freezeLatest)},
		Cell:   p.waitCell, Content: p.keeper.Content, Spoilt: p.keeper.ContentSpoilt(), Display: p.display, Sound: p.sound, App: p.app, CheckApp: p.checkApp, TellParams: p.tellParams, Input: p.input, Clipboard: p.clipboard, Gamepads: p.gamepads, Messages: p.messages,
		Video: p.video, Audio: p.audio, Peer: p.peer, Verify: p.verify,
		KeeperPID: os.Getppid(), Report: p.keeper.Report,
	}, nil
}

// waitCell returns when the cell is there. Where it cannot be made, display says why, and ctx ends.
// The keeper carries out one request at a time, and has made the cell first.
func (p *parts) waitCell(ctx context.Context) error {
	select {
	case <-p.celled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// screen is a display that ends the cell when it closes.
type screen struct {
	*display.Display
	cell *cell.Client
}

func (s screen) Size() (width, height int) {
	size := s.Display.Size()
	return size.Width, size.Height
}

func (s screen) SetView(width, height int, scale float64) {
	s.Display.SetView(display.View{Size: display.Size{Width: width, Height: height}, Scale: scale})
}

func (s screen) Close() error { return errors.Join(s.Display.Close(), s.cell.Close()) }

func (p *parts) display(ctx context.Context) (seat.Display, error) {
	var made cell.Made
	var err error
	if p.cell, made, p.stdout, p.stderr, p.padConns, err = p.keeper.Cell(ctx); err != nil {
		return nil, err
	}
	close(p.celled)
	p.log.Info("cell made")
	p.padLibrary, p.padFiles, p.tools = made.Gamepads, made.GamepadFiles, made.Tools
	if !made.Isolated {
		p.log.Warn("the app is not isolated: it runs with the rights of its user on this node, and can reach other seats of that user; run the Nomad agent as root")
	}
	cfg := display.Config{
		Width: p.spec.Display.Width, Height: p.spec.Display.Height, Scale: p.spec.Display.Scale,
		Server: p.spec.XServer, Touch: p.spec.Display.Touch, Runner: p.cell, Log: p.log,
	}
	cfg.MaxWidth, cfg.MaxHeight = mostOf(p.spec.Display)
	if made.Display != nil {
		cfg.Running = &display.Running{MadeDisplay: *made.Display, Ended: p.keeper.DisplayEnded()}
	}
	d, err := display.Start(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, p.cell.Close())
	}
	p.log.Info("display started", "server", d.Server())
	return screen{d, p.cell}, nil
}

// mostOf is the largest screen that a display may have: its maximum in either orientation.
func mostOf(d wire.Display) (width, height int) {
	side := max(d.MaxWidth, d.MaxHeight)
	return max(d.Width, side), max(d.Height, side)
}

func (p *parts) sound(ctx context.Context) (seat.Sound, error) {
	if err := p.waitCell(ctx); err != nil {
		return nil, err
	}
	s, err := sound.Start(ctx, sound.Config{Runner: p.cell, Log: p.log})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// tellParams writes the file with the values of the app's parameters.
func (p *parts) tellParams(values map[string]string) error {
	text, err := params.File(values)
	if err != nil {
		return err
	}
	return p.cell.WriteParams(text)
}

func (p *parts) app(ctx context.Context, env []string, values map[string]string) (seat.App, error) {
	all := maps.Clone(p.spec.Env)
	if all == nil {
		all = map[string]string{}
	}
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		all[name] = value
	}
	if p.spec.Display.MaxWidth > 0 || p.spec.Display.Scale > 1 {
		// Else Qt 5 ignores the scale that the display tells. GTK's GDK_SCALE would fix
		// the scale, and count twice.
		for _, name := range []string{"QT_ENABLE_HIGHDPI_SCALING", "QT_AUTO_SCREEN_SCALE_FACTOR"} {
			if _, set := all[name]; !set {
				all[name] = "1"
			}
		}
	}
	if p.padLibrary != "" || len(p.padFiles) > 0 {
		gamepad.Environ(all, p.padLibrary)
	}
	if len(p.spec.Params) > 0 {
		for _, pair := range params.Environ(values) {
			name, value, _ := strings.Cut(pair, "=")
			all[name] = value
		}
		all[params.FileEnv] = p.cell.ParamsFile()
	}
	defer p.stdout.Close()
	defer p.stderr.Close()
	a, err := app.Start(ctx, app.Config{
		Cell: p.cell, Command: p.spec.Command, Args: params.Expand(p.spec.Args, values), Env: all, Dir: p.spec.TaskDir,
		Stdout: p.stdout, Stderr: p.stderr, Tools: p.tools,
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

func (p *parts) checkApp(ctx context.Context) error {
	return app.Check(ctx, app.Config{Cell: p.cell, Command: p.spec.Command, Env: p.spec.Env, Dir: p.spec.TaskDir})
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

func (p *parts) input(d seat.Display, relative func(bool)) (seat.Input, error) {
	s := d.(screen)
	in, err := input.Open(s.Dial, s.Cookie(), p.spec.Display.Width, p.spec.Display.Height)
	if err != nil {
		return nil, err
	}
	if err := in.AddDevices(s.Devices().Wheel, s.Devices().Touch); err != nil {
		// XTEST does what they do, in whole notches and with one pointer.
		p.log.Warn("wheels turn by notches, and fingers are a mouse: a device of the display cannot be used", "error", err)
	}
	// Games that grab the mouse use keys by their position: W A S D on every layout.
	in.PreferPlace(p.spec.Display.Pointer == wire.PointerRelative)
	if p.spec.Display.Pointer == wire.PointerAuto {
		in.Watch(relative)
	}
	return in, nil
}

func (p *parts) gamepads(rumble func(wire.Rumble)) (seat.Gamepads, error) {
	if p.padLibrary == "" && len(p.padFiles) == 0 {
		return nil, nil // the keeper's log says why, where the node should have them
	}
	at := func(socket string) string { return filepath.Join(p.cell.Runtime(), socket) }
	made, err := gamepad.Open(gamepad.Config{
		Kernel: p.padConns,
		Listen: func(socket string) (*net.UnixListener, error) { return p.cell.Listen(at(socket)) },
		Show: func(index int, there bool) error {
			devices := map[string]string{gamepad.Device(index): at(gamepad.Socket(index)), gamepad.Joystick(index): at(gamepad.JoystickSocket(index))}
			if len(p.padFiles) == wire.MaxPads { // the cell has no files of the kernel's joysticks
				devices = map[string]string{gamepad.Device(index): p.padFiles[index]}
			}
			var errs []error
			for device, target := range devices {
				if !there {
					target = ""
				}
				errs = append(errs, p.cell.Link(device, target))
			}
			return errors.Join(errs...)
		},
		Rumble: rumble, Log: p.log,
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// box is a messages.Box whose pages package seat knows.
type box struct{ *messages.Box }

func (b box) Page(tell func(message []byte, text bool)) seat.MessagesPage { return b.Box.Page(tell) }

func (p *parts) messages() (seat.Messages, error) {
	l, err := p.cell.ListenLoopback()
	if err != nil {
		return nil, err
	}
	return box{messages.Open(messages.Config{Listener: l, Log: p.log})}, nil
}

// board is a clipboard.Clipboard that takes what package seat puts there.
type board struct{ *clipboard.Clipboard }

func (b board) Put(c seat.Clip) error { return b.Clipboard.Put(clipboard.Content(c)) }

func (p *parts) clipboard(d seat.Display, copied func(map[wire.ClipKind][]byte)) (seat.Clipboard, error) {
	s := d.(screen)
	c, err := clipboard.Open(s.Dial, s.Cookie(), copied)
	if err != nil {
		return nil, err
	}
	return board{c}, nil
}

func (p *parts) video(ctx context.Context, d seat.Display, frame func(seat.Frame), cursor func(seat.Cursor)) (seat.Capture, error) {
	s := d.(screen)
	mostWidth, mostHeight := mostOf(p.spec.Display)
	v, err := capture.Start(ctx, capture.Config{
		Dial: s.Dial, Cookie: s.Cookie(),
		Width: p.spec.Display.Width, Height: p.spec.Display.Height, MaxWidth: mostWidth, MaxHeight: mostHeight, FPS: p.spec.Display.FPS,
		Codec: p.spec.Video.Codec, Encoder: p.spec.Video.Encoder, BitrateBPS: p.spec.Video.BitrateBPS, Main: true,
		OnFrame: func(f capture.Frame) {
			frame(seat.Frame{Data: f.Data, Keyframe: f.Keyframe, PTS: f.PTS, Captured: f.Captured})
		},
		OnCursor: func(c capture.Cursor) {
			cursor(seat.Cursor{Hidden: c.Hidden, PNG: c.PNG(), X: c.HotX, Y: c.HotY})
		},
		Log: p.log,
	})
	if err != nil {
		return nil, err
	}
	p.log.Info("encoder started", "element", v.Encoder(), "preset", v.Preset())
	return pictures{v}, nil
}

// pictures is a capture.Pipeline whose figures package seat knows.
type pictures struct{ *capture.Pipeline }

func (p pictures) Figures() seat.CaptureFigures { return seat.CaptureFigures(p.Pipeline.Figures()) }

func (p *parts) audio(ctx context.Context, s seat.Sound, frame func(seat.Frame)) (seat.Source, error) {
	a, err := capture.StartAudio(ctx, capture.AudioConfig{
		PulseServer: s.(*sound.Server).Server(), Cookie: s.(*sound.Server).Cookie(), Source: sound.Source,
		OnFrame: func(f capture.Frame) { frame(seat.Frame{Data: f.Data, PTS: f.PTS, Captured: f.Captured}) },
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
func (c connection) Figures() seat.PeerFigures {
	s := c.Stats()
	return seat.PeerFigures{
		Pictures: s.VideoFrames, Bytes: s.VideoBytes, Packets: s.Packets, Lost: s.Lost, Reports: s.Reports, Queue: s.Queue,
		Inputs: s.Inputs, InputTime: s.InputTime, RTT: s.RTT, TargetBPS: s.TargetBPS,
	}
}

func (p *parts) peer(c seat.PeerConfig) (seat.Peer, error) {
	made, err := peer.New(peer.Config{
		Listen: p.spec.Listen, Codec: p.spec.Video.Codec, Audio: p.spec.Display.Audio,
		OnInput: c.OnInput, OnClip: c.OnClip, OnMessage: c.OnMessage, OnMessagesEnd: c.OnMessagesEnd, OnKeyframe: c.OnKeyframe, OnSilent: c.OnSilent, OnBitrate: c.OnBitrate, OnCandidate: c.OnCandidate,
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
		MaxBitrateBPS: p.spec.Video.BitrateBPS, StartBPS: c.StartBPS, Log: p.log,
	})
	if err != nil {
		return nil, err
	}
	return connection{made}, nil
}

// keysTimeout bounds how long the keeper may take to give the routers' keys.
const keysTimeout = 5 * time.Second

// verify checks a ticket with the keys of this moment: a seat may start before its node
// has them, and they change.
func (p *parts) verify(token string) (seat.Claims, error) {
	ctx, cancel := context.WithTimeout(context.Background(), keysTimeout)
	defer cancel()
	keys, err := p.keeper.Keys(ctx)
	var verifier *ticket.Verifier
	if err == nil {
		defer keys.Close()
		verifier, err = ticket.LoadVerifier(fmt.Sprintf("/proc/self/fd/%d", keys.Fd()))
	}
	if err != nil {
		p.log.Error("read ticket keys", "error", err)
		return seat.Claims{}, errors.New("the seat cannot read the ticket keys; its log says why")
	}
	c, err := verifier.Verify(token)
	return seat.Claims{Session: c.Session, App: c.App, Subject: c.Subject, Network: c.Network, Customer: c.Customer, Meta: c.Meta, MaxDuration: c.MaxDuration, Params: c.Params,
		First: c.First, Trace: c.Trace}, err
}
