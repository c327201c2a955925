package firefox

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
)

func TestDrivesAPage(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<button onclick="clicks++">go</button><script>
			let clicks = 0, keys = '', moved = 0, turned = 0;
			addEventListener('keydown', e => keys += e.key);
			addEventListener('mousemove', e => moved = e.clientX);
			addEventListener('wheel', e => turned += e.deltaY);
		</script>`)
	}))
	defer server.Close()
	f := Start(t)
	ctx := testkit.Context(t, time.Minute)
	page, err := f.Open(ctx, server.URL)
	testkit.Must(t, err)
	testkit.Must(t, page.Click(ctx, "button"))
	testkit.Must(t, page.Until(ctx, "clicks === 1"))
	testkit.Must(t, page.Press(ctx, Control, "b"))
	testkit.Must(t, page.Until(ctx, "keys === 'Controlb'"))
	testkit.Must(t, page.Move(ctx, browser.Point{X: 200, Y: 300}))
	testkit.Must(t, page.Wheel(ctx, browser.Point{X: 200, Y: 300}, 0, 120))
	testkit.Must(t, page.Until(ctx, "moved === 200 && turned === 120"))
	var width int
	if err := page.Eval(ctx, "Promise.resolve(innerWidth)", &width); err != nil || width != 1280 {
		t.Errorf("innerWidth is %d (%v), want 1280", width, err)
	}
	var capable []string
	testkit.Must(t, page.Eval(ctx, "[...new Set(RTCRtpReceiver.getCapabilities('video').codecs.map((c) => c.mimeType + ' ' + (c.sdpFmtpLine ?? '')))]", &capable))
	t.Logf("codecs: %q", capable)
	if err := page.Eval(ctx, "(() => { throw new Error('no') })()", nil); !errors.Is(err, ErrThrown) {
		t.Errorf("an expression that throws: %v", err)
	}
	testkit.Must(t, page.Eval(ctx, "console.error('red', 7)", nil))
	testkit.Until(t, "the problem is known", func() bool { return len(page.Problems()) == 1 })
	if p := page.Problems(); p[0] != "red 7" {
		t.Errorf("problems: %q", p)
	}
	short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	if err := page.Until(short, "false"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a condition that is never true: %v", err)
	}
	testkit.Must(t, page.Close(ctx))
}

// A tab whose questions nobody looks at does not hold up answers.
func TestManyQuestions(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		socket, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer socket.CloseNow()
		say := func(message string) { _ = socket.Write(r.Context(), websocket.MessageText, []byte(message)) }
		for range 100 {
			say(`{"type": "event", "method": "browsingContext.userPromptOpened", "params": {"type": "beforeunload", "context": "a"}}`)
		}
		_, _, _ = socket.Read(r.Context())
		say(`{"type": "success", "id": 1, "result": {}}`)
		_, _, _ = socket.Read(r.Context()) // until the other end closes
	}))
	defer server.Close()
	ctx := testkit.Context(t, 10*time.Second)
	socket, _, err := websocket.Dial(ctx, server.URL, nil)
	testkit.Must(t, err)
	c := newConn(socket)
	defer c.close()
	testkit.Must(t, c.call(ctx, "session.status", object{}, nil))
}
