package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/sound"
)

// nekoServer is the server of m1k1o/neko, with an X display, a sound server and the test app as they are in its
// images: all of a room run before a person comes. Its encoder is what it takes itself for H.264 at a
// bitrate. The page does what neko's own client does to log in, take control and watch.
type nekoServer struct {
	*peers
	program string
}

const nekoPassword = "bench"

// nekoPage is a client of neko's API, version 3: a login, a WebSocket, an offer of the server's, and a data channel with
// binary messages for keys.
const nekoPage = `<!doctype html>
<meta charset="utf-8">
<title>neko</title>
<style>body { margin: 0 } video { width: 1280px; height: 720px }</style>
<button class="play-button">Play</button>
<video autoplay muted playsinline></video>
<audio autoplay></audio>
<script>
	const base = %q, password = %q, video = document.querySelector('video');
	let first = null, channel = null, begun = 0;
	window.failure = '';
	window.firstMS = () => first;
	window.press = (type) => {
		const message = new DataView(new ArrayBuffer(7));
		message.setUint8(0, type === 'keydown' ? 3 : 4);
		message.setUint16(1, 4);
		message.setUint32(3, 0x61);
		channel.send(message.buffer);
	};
	window.streams = () => first !== null && channel?.readyState === 'open';
	const play = async () => {
		begun = performance.now();
		video.requestVideoFrameCallback(() => { first = performance.now() - begun; });
		const login = await fetch(base + '/api/login', { method: 'POST', headers: { 'Content-Type': 'application/json' },
			body: JSON.stringify({ username: 'bench', password }) });
		if (!login.ok) throw new Error('login: ' + await login.text());
		const { token } = await login.json();
		const socket = new WebSocket(base.replace('http', 'ws') + '/api/ws?token=' + encodeURIComponent(token));
		const send = (event, payload = {}) => socket.send(JSON.stringify({ event, payload }));
		const pc = new RTCPeerConnection();
		pc.ontrack = ({ track }) => {
			(track.kind === 'video' ? video : document.querySelector('audio')).srcObject = new MediaStream([track]);
		};
		pc.ondatachannel = (event) => { channel = event.channel; };
		pc.onicecandidate = ({ candidate }) => { if (candidate?.candidate) send('signal/candidate', candidate.toJSON()); };
		const heard = async ({ event, payload }) => {
			switch (event) {
			case 'system/init':
				send('control/request');
				send('signal/request', { video: {}, audio: {} });
				break;
			case 'signal/provide': case 'signal/offer': case 'signal/restart':
				await pc.setRemoteDescription({ type: 'offer', sdp: payload.sdp });
				await pc.setLocalDescription(await pc.createAnswer());
				send('signal/answer', { sdp: pc.localDescription.sdp });
				break;
			case 'signal/candidate':
				await pc.addIceCandidate(payload);
				break;
			case 'system/disconnect':
				throw new Error(payload.message);
			}
		};
		socket.onmessage = ({ data }) => heard(JSON.parse(data)).catch((e) => { window.failure += e + '; '; });
	};
	document.querySelector('button').onclick = () => play().catch((e) => { window.failure += e + '; '; });
</script>`

// toCorner moves the app's window to where the window manager of neko's images would: else a part of it is beyond the screen, and
// no picture has its number where it is looked for.
func toCorner(ctx context.Context, tb testing.TB, display string) {
	tb.Helper()
	x, err := xgb.NewConnDisplay(display)
	testkit.Must(tb, err)
	defer x.Close()
	testkit.Retry(ctx, tb, "the app's window is in the corner", func() error {
		tree, err := xproto.QueryTree(x, xproto.Setup(x).DefaultScreen(x).Root).Reply()
		if err != nil {
			return err
		}
		for _, win := range tree.Children {
			size, err := xproto.GetGeometry(x, xproto.Drawable(win)).Reply()
			if err != nil {
				return err
			}
			if size.Width == qualityWidth && size.Height == qualityHeight {
				return xproto.ConfigureWindowChecked(x, win, xproto.ConfigWindowX|xproto.ConfigWindowY, []uint32{0, 0}).Check()
			}
		}
		return errors.New("there is no window")
	})
}

func (n *nekoServer) name() string { return "neko" }

func (n *nekoServer) play(tb testing.TB, a showing) *stage {
	tb.Helper()
	ctx := testkit.Context(tb, 2*time.Minute)
	display, x := testkit.Xvfb(tb, nil)
	sounds, err := sound.Start(ctx, sound.Config{Runner: cell.Local{Dir: tb.TempDir()}})
	testkit.Must(tb, err)
	env := append(sounds.Env(), "PATH="+os.Getenv("PATH"), "HOME="+tb.TempDir(), "DISPLAY="+display)

	rate := strconv.Itoa(a.fps)
	app := exec.Command(filepath.Join(n.bench.bin, "testapp"), append([]string{"-size", "1280x720", "-fps", rate}, a.args...)...)
	if a.sound {
		app.Args = append(app.Args, "-sound")
	}
	if a.film != nil {
		app.Args = append(app.Args, "-show", a.film.file, "-rest", a.film.rest.String())
	}
	app.Env = env
	running := testkit.Start(tb, app)
	toCorner(ctx, tb, display)

	address := testkit.Address(tb)
	base := "http://" + address
	server := exec.Command(n.program, "serve",
		"--server.bind", address, "--server.cors", "*",
		"--member.provider", "multiuser", "--member.multiuser.admin_password", nekoPassword, "--member.multiuser.user_password", nekoPassword+"-user",
		"--desktop.screen", "1280x720@"+rate, "--desktop.input.enabled=false", "--capture.microphone.enabled=false",
		"--display", display, "--video_codec", "h264", "--video_bitrate", strconv.Itoa(1000*a.mbps), "--max_fps", rate,
		"--capture.audio.device", sound.Source,
		"--webrtc.icetrickle=false",
		// Without one of its own it asks a STUN server on the internet, and waits for it; this page asks none.
		"--webrtc.iceservers.frontend", `[{"urls":["stun:127.0.0.1:3478"]}]`)
	server.Env = env
	serving := testkit.Start(tb, server)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, nekoPage, base, nekoPassword) }))
	testkit.Retry(ctx, tb, "neko answers", func() error {
		res, err := http.Get(base + "/health")
		if err == nil {
			err = res.Body.Close()
		}
		return err
	})

	s := &stage{tb: tb, server: server.Process.Pid, display: x.Process.Pid}
	s.page, err = n.chrome.OpenAfter(ctx, peerHook(tb, a.line), web.URL)
	testkit.Must(tb, err)
	s.end = func() {
		s.page.Close()
		serving.Stop()
		running.Stop()
		web.Close()
		sounds.Close()
	}
	testkit.Must(tb, settle(ctx))
	testkit.Must(tb, s.page.Click(ctx, ".play-button"))
	if err := s.page.Until(ctx, "window.failure || window.streams()"); err != nil {
		tb.Fatal(err)
	}
	if failure := evaluate[string](s, "window.failure"); failure != "" {
		tb.Fatalf("neko's page: %s", failure)
	}
	return s
}
