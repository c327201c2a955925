package seat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/logs"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/trace"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a whole seat with stand-ins for display, app, capture and peers. Its
// tests check, over real sockets, that the seat drives them correctly.
type rig struct {
	reported atomic.Pointer[wire.Exit]
	t        *testing.T
	freeze   FreezePolicy
	spec     wire.Spec
	signer   *ticket.Signer
	tracer   *trace.Tracer
	brain    *identity.Identity // of a brain that the seat knows
	known    testkit.Peers
	log      *testkit.Buffer

	display   *fakeDisplay
	app       *fakeApp
	video     *fakeVideo
	clipboard fakeClipboard
	gamepads  fakeGamepads
	box       atomic.Pointer[messages.Box] // where messages wait; a real one
	input     *fakeInput
	peers     chan *fakePeer
	failure   map[string]error // by part
	spoilt    chan wire.End
	// cellGate, contentGate and displayGate are what the start of each waits for; nil waits for nothing.
	cellGate, contentGate, displayGate chan struct{}
	contentLimit                       atomic.Pointer[time.Time] // until when content may be fetched

	// started and told are the parameters that the app was started with, and told.
	started, told atomic.Pointer[map[string]string]

	address string
	ended   chan wire.End
	seats   *registry
	stop    context.CancelFunc

	following sync.WaitGroup
}

func newRig(t *testing.T) *rig { return newRigWith(t, func(*rig) {}) }

func buildRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{
		t: t, signer: testkit.Signer(t), brain: testkit.Identity(t), log: &testkit.Buffer{},
		display: &fakeDisplay{done: make(chan struct{}), window: make(chan error, 1), changed: make(chan struct{}, 1)},
		app:     &fakeApp{done: make(chan struct{})},
		video:   &fakeVideo{done: make(chan struct{})},
		input:   &fakeInput{}, peers: make(chan *fakePeer, 10),
		failure: map[string]error{}, spoilt: make(chan wire.End, 1), ended: make(chan wire.End, 1), seats: &registry{},
		spec: wire.Spec{
			Nonce: "n0nce", Alloc: "alloc-1", Task: "seat", App: "viewer", Job: "viewer/dispatch-1", Version: 3, Node: "node-1",
			RunDir: testkit.ShortDir(t), TaskDir: t.TempDir(), Command: "/bin/app", FreezeIdle: true,
			Display: wire.Display{Width: 640, Height: 480, FPS: 30, Pointer: wire.PointerAbsolute},
			Listen:  wire.Listen{API: "127.0.0.1"},
			LeaseS:  10, ReconnectGraceS: 10,
		},
	}
	r.known = testkit.Peers{r.brain.Key(): {Service: wire.BrainService, Node: "edge-1"}}
	r.display.window <- nil
	t.Cleanup(r.finish)
	return r
}

// errSlow stands for content that does not come to an end.
var errSlow = errors.New("slow")

// pass waits for a gate, if there is one.
func pass(ctx context.Context, gate <-chan struct{}) error {
	if gate == nil {
		return nil
	}
	select {
	case <-gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *rig) start(verifier *ticket.Verifier) {
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	parts := Parts{
		Identity: testkit.Identity(r.t), Peers: r.known, Trace: r.tracer,
		Freeze: r.freeze,
		Cell:   func(ctx context.Context) error { return pass(ctx, r.cellGate) },
		Content: func(ctx context.Context, progress func(int64, int64, string)) (io.Closer, error) {
			if limit, ok := ctx.Deadline(); ok {
				r.contentLimit.Store(&limit)
			}
			if r.failure["content"] == errSlow {
				progress(1e6, 5e6, "s3://models/big")
				<-ctx.Done()
				return nil, ctx.Err()
			}
			if err := pass(ctx, r.contentGate); err != nil {
				return nil, err
			}
			r.display.call(fmt.Sprint("content after ", r.display.count("start"), " displays"))
			return io.NopCloser(nil), r.failure["content"]
		},
		Spoilt: r.spoilt,
		Display: func(ctx context.Context) (Display, error) {
			r.display.call("start")
			if err := pass(ctx, r.displayGate); err != nil {
				return nil, err
			}
			return r.display, r.failure["display"]
		},
		Sound: func(context.Context) (Sound, error) {
			r.display.call("sound")
			return nil, r.failure["sound"]
		},
		App: func(_ context.Context, _ []string, params map[string]string) (App, error) {
			r.started.Store(&params)
			r.app.call("started")
			return r.app, r.failure["app"]
		},
		CheckApp: func(context.Context) error { return r.failure["command"] },
		TellParams: func(params map[string]string) error {
			r.told.Store(&params)
			return r.failure["params"]
		},
		Clipboard: func(_ Display, copied func(map[wire.ClipKind][]byte)) (Clipboard, error) {
			r.clipboard.copied = copied
			return &r.clipboard, nil
		},
		Gamepads: func(rumble func(wire.Rumble)) (Gamepads, error) {
			if r.failure["gamepads"] != nil {
				return nil, nil
			}
			r.gamepads.rumble = rumble
			return &r.gamepads, nil
		},
		Messages: func() (Messages, error) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return nil, err
			}
			b := messages.Open(messages.Config{Listener: l})
			r.box.Store(b)
			return realBox{b}, nil
		},
		Input: func(_ Display, relative func(bool)) (Input, error) {
			r.input.relative = relative
			return r.input, nil
		},
		Video: func(_ context.Context, _ Display, frame func(Frame), cursor func(Cursor)) (Capture, error) {
			r.video.frame, r.video.cursor = frame, cursor
			frame(Frame{Keyframe: true})
			return r.video, r.failure["video"]
		},
		Peer: func(c PeerConfig) (Peer, error) {
			p := &fakePeer{PeerConfig: c}
			r.peers <- p
			return p, nil
		},
		Verify: func(token string) (Claims, error) {
			c, err := verifier.Verify(token)
			return Claims{Session: c.Session, App: c.App, MaxDuration: c.MaxDuration, Params: c.Params, First: c.First, Trace: c.Trace}, err
		},
	}
	control, err := net.Listen("unix", filepath.Join(r.spec.RunDir, wire.ControlSocket))
	if err != nil {
		r.t.Fatal(err)
	}
	parts.Control, parts.KeeperPID, parts.Report = control, 4240, r.report
	r.following.Go(func() { r.seats.follow(filepath.Join(r.spec.RunDir, wire.ControlSocket)) })
	go func() {
		r.ended <- Run(ctx, r.spec, parts, logs.NewAt(slog.LevelDebug, r.log, "seat"))
	}()
}

func (r *rig) finish() {
	r.stop()
	select {
	case end := <-r.ended:
		r.ended <- end
	case <-time.After(60 * time.Second):
		r.t.Error("the seat does not end")
	}
	r.following.Wait()
	if strings.Contains(r.log.String(), "eyJ") {
		r.t.Errorf("the log contains a token:\n%s", r.log.String())
	}
	if r.t.Failed() {
		r.t.Logf("log:\n%s", r.log.String())
	}
}

func (r *rig) wait(what string, ok func() bool) {
	r.t.Helper()
	testkit.UntilSeen(r.t, what, func() (any, bool) { done := ok(); return r.seats.last(), done })
}

func (r *rig) waitState(state wire.SeatState) wire.Seat {
	r.t.Helper()
	r.wait("state "+string(state), func() bool { return r.seats.last().State == state })
	return r.seats.last()
}

func (r *rig) idle() *rig {
	r.t.Helper()
	r.address = r.waitState(wire.SeatIdle).Address
	return r
}

func (r *rig) waitEnd() wire.End {
	r.t.Helper()
	select {
	case end := <-r.ended:
		r.ended <- end
		return end
	case <-time.After(60 * time.Second):
		r.t.Fatal("the seat does not end")
		return wire.End{}
	}
}

func (r *rig) ticket(session, app string) string { return r.ticketWith(session, app, nil) }

func (r *rig) ticketWith(session, app string, params map[string]string) string {
	r.t.Helper()
	token, _, err := r.signer.Sign(ticket.Claims{Session: session, App: app, Version: 3, Sites: []string{"here"}, Params: params})
	if err != nil {
		r.t.Fatal(err)
	}
	return token
}

// attach opens the WebSocket. If it is refused, it returns status and problem.
func (r *rig) attach(token string) (*websocket.Conn, int, wire.Problem) {
	r.t.Helper()
	return r.attachBy(wire.AttachPath, token)
}

func (r *rig) attachBy(path, token string, header ...string) (*websocket.Conn, int, wire.Problem) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 60*time.Second)
	defer cancel()
	client := r.client(r.brain)
	sent := http.Header{"Authorization": {"Bearer " + token}}
	for i := 0; i+1 < len(header); i += 2 {
		sent.Set(header[i], header[i+1])
	}
	conn, resp, err := websocket.Dial(ctx, "wss://"+r.address+path, &websocket.DialOptions{HTTPClient: client, HTTPHeader: sent})
	var problem wire.Problem
	if err != nil {
		if resp == nil {
			r.t.Fatal(err)
		}
		if kind := resp.Header.Get("Content-Type"); kind != wire.ProblemType {
			r.t.Errorf("refusal is %s", kind)
		}
		if err := json.NewDecoder(resp.Body).Decode(&problem); err != nil || problem.Status != resp.StatusCode {
			r.t.Errorf("problem %+v, %v", problem, err)
		}
		return nil, resp.StatusCode, problem
	}
	r.t.Cleanup(func() { _ = conn.CloseNow() })
	return conn, resp.StatusCode, problem
}

func (r *rig) read(conn *websocket.Conn) (wire.Message, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), 60*time.Second)
	defer cancel()
	var m wire.Message
	err := wsjson.Read(ctx, conn, &m)
	return m, err
}

func (r *rig) expect(conn *websocket.Conn, kind wire.MessageType) wire.Message {
	r.t.Helper()
	m, err := r.read(conn)
	if err != nil || m.Type != kind {
		r.t.Fatalf("got %s (%v), want %s", m.Type, err, kind)
	}
	return m
}

func (r *rig) expectClose(conn *websocket.Conn, code websocket.StatusCode) {
	r.t.Helper()
	m, err := r.read(conn)
	if websocket.CloseStatus(err) != code {
		r.t.Fatalf("got %+v, %v; want close %d", m, err, code)
	}
}

func (r *rig) send(conn *websocket.Conn, m wire.Message) {
	r.t.Helper()
	if err := wsjson.Write(r.t.Context(), conn, m); err != nil {
		r.t.Fatal(err)
	}
}

// play starts a session that streams: claim, offer, connect.
func (r *rig) play() (*websocket.Conn, *fakePeer, wire.Grant) {
	r.t.Helper()
	conn, status, _ := r.attach(r.ticket(ticket.NewSession(), "viewer"))
	if conn == nil {
		r.t.Fatalf("claim: %d", status)
	}
	grant := r.expect(conn, wire.MsgGranted).Grant
	r.send(conn, wire.Message{Type: wire.MsgOffer, SDP: "offer-1"})
	p := <-r.peers
	if answer := r.expect(conn, wire.MsgAnswer).SDP; answer != "answer to offer-1" {
		r.t.Fatalf("answer is %q", answer)
	}
	p.OnState(PeerConnected)
	r.waitState(wire.SeatStreaming)
	return conn, p, *grant
}

// client speaks with the seat as the process that has a key.
func (r *rig) client(as *identity.Identity) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: as.Client(r.seats.last().Key), DisableKeepAlives: true}}
}

func (r *rig) post(path string, body any) int {
	r.t.Helper()
	status, err := r.postAs(r.brain, path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	return status
}

func (r *rig) postAs(as *identity.Identity, path string, body any) (int, error) {
	r.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	client := r.client(as)
	client.Timeout = 10 * time.Second
	resp, err := client.Post("https://"+r.address+path, "application/json", bytes.NewReader(raw))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, nil
}

// controlClient talks to the control socket, as the driver does.
func (r *rig) controlClient() *http.Client {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(r.spec.RunDir, wire.ControlSocket))
		},
	}
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// report takes the word of the seat's end, as the keeper does.
func (r *rig) report(e wire.Exit) error {
	if r.reported.Swap(&e) != nil {
		r.t.Error("the seat reported its end twice")
	}
	return nil
}

func (r *rig) exit() wire.Exit {
	r.t.Helper()
	e := r.reported.Load()
	if e == nil {
		r.t.Fatal("the seat did not report its end")
	}
	return *e
}

// registry is a driver that follows a seat's record.
type registry struct {
	mu     sync.Mutex
	socket string
	said   []wire.Seat
	closed bool
}

// onControl is the driver's client.
func onControl(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
}

// follow reads the record until the seat is gone.
func (r *registry) follow(socket string) {
	r.mu.Lock()
	r.socket = socket
	r.mu.Unlock()
	res, err := onControl(socket).Get("http://seat" + wire.SeatPath)
	if err != nil {
		return
	}
	defer res.Body.Close()
	for in := json.NewDecoder(res.Body); ; {
		var seat wire.Seat
		err := in.Decode(&seat)
		r.mu.Lock()
		if err != nil {
			r.closed = true
			r.mu.Unlock()
			return
		}
		r.said = append(r.said, seat)
		r.mu.Unlock()
	}
}

// gone reports whether the seat said that it is gone, after its last record.
func (r *registry) gone() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// last is the seat's record at this moment, or after its end the last that there was.
func (r *registry) last() wire.Seat {
	r.mu.Lock()
	socket := r.socket
	r.mu.Unlock()
	var status wire.StreamHostStatus
	if res, err := onControl(socket).Get("http://seat" + wire.StatusPath); err == nil {
		err = json.NewDecoder(res.Body).Decode(&status)
		res.Body.Close()
		if err == nil {
			return status.Seat
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.said) == 0 {
		return wire.Seat{}
	}
	return r.said[len(r.said)-1]
}

// calls counts the calls of a stand-in.
type calls struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *calls) call(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[name]++
}

func (c *calls) count(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[name]
}

// starting counts those whose name starts like this.
func (c *calls) starting(prefix string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, times := range c.n {
		if strings.HasPrefix(name, prefix) {
			n += times
		}
	}
	return n
}

type fakeDisplay struct {
	calls
	done    chan struct{}
	window  chan error
	changed chan struct{}
	windows atomic.Int32
}

func (d *fakeDisplay) Env() []string { return []string{"DISPLAY=:9"} }
func (d *fakeDisplay) WaitWindow(ctx context.Context) error {
	select {
	case err := <-d.window:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
func (d *fakeDisplay) Done() <-chan struct{}    { return d.done }
func (d *fakeDisplay) Changed() <-chan struct{} { return d.changed }
func (d *fakeDisplay) Size() (int, int)         { return 640, 480 }
func (d *fakeDisplay) Windows() int             { return int(d.windows.Load()) }
func (d *fakeDisplay) CloseWindow()             { d.call("close window") }
func (d *fakeDisplay) SetView(width, height int, scale float64) {
	d.call(fmt.Sprintf("view %dx%d %v", width, height, scale))
}
func (d *fakeDisplay) Err() error   { return errors.New("server died") }
func (d *fakeDisplay) Close() error { d.call("close"); return nil }

type fakeApp struct {
	calls
	done         chan struct{}
	code, signal int
	stopped      wire.StopRequest
	cpu          atomic.Int64
	grows        atomic.Bool
}

func (a *fakeApp) PID() int              { return 4242 }
func (a *fakeApp) InitPID() int          { return 4241 }
func (a *fakeApp) Done() <-chan struct{} { return a.done }
func (a *fakeApp) Exit() (int, int)      { return a.code, a.signal }
func (a *fakeApp) Signal(name string) error {
	if name != "SIGHUP" {
		return errors.New("no such signal")
	}
	a.call("signal")
	return nil
}
func (a *fakeApp) CPU() time.Duration {
	if a.grows.Load() {
		a.cpu.Add(int64(time.Hour))
	}
	return time.Duration(a.cpu.Load())
}
func (a *fakeApp) Freeze() error { a.call("freeze"); return nil }
func (a *fakeApp) Thaw() error   { a.call("thaw"); return nil }
func (a *fakeApp) Stop(signal string, timeout time.Duration) error {
	a.call("stop")
	a.stopped = wire.StopRequest{Signal: signal, TimeoutMS: timeout.Milliseconds()}
	return nil
}

type fakeVideo struct {
	calls
	done    chan struct{}
	frame   func(Frame)
	stirs   atomic.Bool
	isPlain atomic.Bool
	// still gives the stills; nil gives none.
	still atomic.Pointer[image.RGBA]
	// cursor takes a new cursor.
	cursor func(Cursor)
}

func (v *fakeVideo) Pause()                { v.call("pause") }
func (v *fakeVideo) Resume()               { v.call("resume") }
func (v *fakeVideo) Done() <-chan struct{} { return v.done }
func (v *fakeVideo) Err() error            { return errors.New("encoder broke") }
func (v *fakeVideo) Close() error          { v.call("close"); return nil }
func (v *fakeVideo) Keyframe()             { v.call("keyframe") }
func (v *fakeVideo) SetBitrate(int)        { v.call("bitrate") }
func (v *fakeVideo) SetMain(main bool)     { v.call(fmt.Sprint("main ", main)) }
func (v *fakeVideo) DrawCursor(on bool)    { v.call(fmt.Sprint("draw cursor ", on)) }
func (v *fakeVideo) Stirred() bool         { v.call("stirred"); return v.stirs.Load() }
func (v *fakeVideo) Crop(int, int)         {}
func (v *fakeVideo) Plain() bool           { return v.isPlain.Load() }
func (v *fakeVideo) Still(ctx context.Context, _ int) (*image.RGBA, time.Time, error) {
	v.call("still")
	if picture := v.still.Load(); picture != nil {
		return picture, time.Now(), nil
	}
	<-ctx.Done()
	return nil, time.Time{}, ctx.Err()
}
func (v *fakeVideo) Figures() CaptureFigures {
	return CaptureFigures{Encoder: "x264enc", Preset: "ultrafast"}
}

type fakeInput struct {
	calls
	hold     atomic.Pointer[chan struct{}] // ReleaseAll waits for it
	relative func(bool)
}

func (h *fakeInput) Apply(m wire.Input) error { h.call("apply " + m.Code); return nil }
func (h *fakeInput) ReleaseAll() error {
	h.call("release")
	if hold := h.hold.Load(); hold != nil {
		<-*hold
	}
	return nil
}
func (h *fakeInput) Resize(width, height int) { h.call(fmt.Sprintf("size %dx%d", width, height)) }
func (h *fakeInput) Touches() bool            { return true }
func (h *fakeInput) CursorShown(shown bool)   { h.call(fmt.Sprint("cursor shown ", shown)) }
func (h *fakeInput) StopRepeats()             { h.call("stop repeats") }
func (h *fakeInput) Close() error             { h.call("close"); return nil }

type fakeClipboard struct {
	calls
	copied func(map[wire.ClipKind][]byte)
	last   atomic.Pointer[Clip]
}

func (c *fakeClipboard) Put(clip Clip) error {
	c.last.Store(&clip)
	c.call("put " + clip.Text)
	return nil
}
func (c *fakeClipboard) Look()        { c.call("look") }
func (c *fakeClipboard) Close() error { c.call("close"); return nil }

type fakePeer struct {
	calls
	PeerConfig
	page func(message []byte, text bool) // gets what comes on the channel of clipboards
	lost atomic.Bool                     // the browser confirms nothing
}

func (p *fakePeer) Answer(_ context.Context, offer string) (string, error) {
	if offer == "bad" {
		return "", errors.New("offer cannot be answered")
	}
	return "answer to " + offer, nil
}
func (p *fakePeer) Restart(_ context.Context, offer string) (string, error) {
	p.call("restart")
	if offer == "bad" {
		return "", errors.New("offer cannot be answered")
	}
	return "restarted by " + offer, nil
}
func (p *fakePeer) AddCandidate(c json.RawMessage) error {
	p.call("candidate " + string(c))
	return nil
}
func (p *fakePeer) WriteVideo(Frame) error { p.call("video"); return nil }
func (p *fakePeer) WriteAudio(Frame) error { p.call("audio"); return nil }
func (p *fakePeer) Tell(message []byte) uint64 {
	p.call("tell " + string(message))
	return 1
}
func (p *fakePeer) Arrived(uint64) bool { return !p.lost.Load() }
func (p *fakePeer) TakesMain() bool     { return true }
func (p *fakePeer) TakesClips() bool    { return p.page != nil }
func (p *fakePeer) TellClip(message []byte, text bool) {
	if p.page != nil {
		p.page(message, text)
	}
}
func (p *fakePeer) TellMessage(message []byte, text bool) { p.call("message " + string(message)) }
func (p *fakePeer) EndMessages()                          { p.call("end messages") }
func (p *fakePeer) Figures() PeerFigures                  { return PeerFigures{RTT: 20 * time.Millisecond} }
func (p *fakePeer) Close() error                          { p.call("close"); return nil }
