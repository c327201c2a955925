package messages

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// Bounds of what the app can keep busy.
const (
	maxConns   = 16 // connections
	maxClients = 8  // of them WebSockets
	calm       = 5 * time.Second
	maxHeader  = 8 << 10
	// sendBuffer is how much the kernel keeps for a connection that does not read.
	sendBuffer = 64 << 10
	lookEvery  = 500 * time.Millisecond // whether who sends is still there
	// pongWithin is how long a connection may take to confirm a message; then it is ended, and
	// the message goes to the next.
	pongWithin = 30 * time.Second
)

var errGone = errors.New("who sent the message is gone")

// Config says where the app connects.
type Config struct {
	Listener net.Listener // on 127.0.0.1, as the app sees it
	Log      *slog.Logger // nil is slog.Default()
}

// server is the app's end of a box.
type server struct {
	box    *Box
	addr   string
	secret string
	http   *http.Server
}

type connKey struct{}

func serve(b *Box, l net.Listener) *server {
	s := &server{box: b, addr: l.Addr().String(), secret: rand.Text()}
	s.http = &http.Server{
		Handler: s, ReadHeaderTimeout: calm, ReadTimeout: calm, WriteTimeout: calm, IdleTimeout: calm, MaxHeaderBytes: maxHeader,
		ErrorLog:    slog.NewLogLogger(b.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	b.running.Go(func() {
		if err := s.http.Serve(&bounded{Listener: l}); !errors.Is(err, http.ErrServerClosed) {
			b.log.Error("the app can send no messages any more", "error", err)
		}
	})
	return s
}

// bounded is a listener of so few connections, with little memory in the kernel, so that one
// that does not read is noticed.
type bounded struct {
	net.Listener
	open atomic.Int32
}

// Accept implements net.Listener. A connection above the limit is closed.
func (l *bounded) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		t, ok := c.(*net.TCPConn)
		if !ok || l.open.Add(1) > maxConns {
			if ok {
				l.open.Add(-1)
			}
			c.Close()
			continue
		}
		_ = t.SetWriteBuffer(sendBuffer) // else the kernel's choice
		return &counted{TCPConn: t, done: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
	}
}

// counted is a connection of a bounded listener.
type counted struct {
	*net.TCPConn
	done func()
}

func (c *counted) Close() error {
	c.done()
	return c.TCPConn.Close()
}

func (s *server) close() error {
	if err := s.http.Close(); err != nil {
		return fmt.Errorf("close the app's messages: %w", err)
	}
	return nil
}

// Env is what the app needs in its environment.
func (b *Box) Env() []string {
	return []string{fmt.Sprintf("%s=ws://%s/%s", wire.MessagesEnv, b.server.addr, b.server.secret)}
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secret, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	_, port, _ := net.SplitHostPort(s.addr)
	switch {
	// A name of the stranger's own, which leads to loopback, is none of these.
	case r.Host != s.addr && r.Host != "localhost:"+port:
		http.Error(w, "the Host must be that of "+wire.MessagesEnv, http.StatusMisdirectedRequest)
	case subtle.ConstantTimeCompare([]byte(secret), []byte(s.secret)) == 0:
		http.Error(w, "use the URL in "+wire.MessagesEnv, http.StatusNotFound)
	case path == "":
		s.connect(w, r)
	case "/"+path != wire.ReadyPath && "/"+path != wire.QuitPath:
		http.Error(w, fmt.Sprintf("there are %s and %s", wire.ReadyPath, wire.QuitPath), http.StatusNotFound)
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "this takes a POST", http.StatusMethodNotAllowed)
	case "/"+path == wire.ReadyPath:
		s.box.readyOnce.Do(func() { close(s.box.ready) })
		w.WriteHeader(http.StatusNoContent)
	default:
		s.box.quitOnce.Do(func() { close(s.box.quit) })
		w.WriteHeader(http.StatusNoContent)
	}
}

// client is a WebSocket of the app.
type client struct {
	conn *websocket.Conn
	left int // messages that it still gets; negative is all. Once it is connected, for deliver alone
}

// everything is client.left of a connection that gets all messages.
const everything = -1

// connect serves a WebSocket of the app.
func (s *server) connect(w http.ResponseWriter, r *http.Request) {
	b := s.box
	left := everything
	if text := r.URL.Query().Get(wire.ReceiveQuery); text != "" {
		var err error
		if left, err = strconv.Atoi(text); err != nil || left < 0 {
			http.Error(w, wire.ReceiveQuery+" takes a number, 0 or more", http.StatusBadRequest)
			return
		}
	}
	c := &client{} // one that gets nothing: it is not connected
	if !b.enter(c) {
		http.Error(w, fmt.Sprintf("the app has %d connections already; close one", maxClients), http.StatusServiceUnavailable)
		return
	}
	defer b.leave(c)
	raw := r.Context().Value(connKey{}).(*counted)
	// The app may be a page itself, of any origin: the secret says that it is the app.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		b.log.Debug("accept a connection of the app", "error", err)
		return
	}
	// With the seat this ends at once, also while the app owes the end of the WebSocket.
	defer context.AfterFunc(b.ctx, func() { raw.Close() })()
	conn.SetReadLimit(wire.MaxAppMessage)
	b.mu.Lock()
	c.conn, c.left = conn, left
	b.wake()
	b.mu.Unlock()
	code, why := s.listen(c, raw)
	_ = conn.Close(code, why)
}

// enter counts a connection, if there is room for it. leave follows.
func (b *Box) enter(c *client) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || len(b.clients) >= maxClients {
		return false
	}
	b.running.Add(1)
	b.clients[c] = struct{}{}
	return true
}

func (b *Box) leave(c *client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.clients, c)
	b.running.Done()
}

// listen takes what the app sends on a connection, until that ends.
func (s *server) listen(c *client, raw *counted) (websocket.StatusCode, string) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		kind, data, err := c.conn.Read(s.box.ctx)
		if err != nil {
			return websocket.StatusNormalClosure, ""
		}
		m := message{data, kind == websocket.MessageBinary}
		if !m.bytes && !isJSON(data) {
			return websocket.StatusInvalidFramePayloadData, "a text message must be JSON in UTF-8; send other texts as a JSON string, or as bytes"
		}
		if err := s.box.put(m, tick.C, func() bool { return hungUp(raw) }); err != nil {
			return websocket.StatusGoingAway, err.Error()
		}
	}
}

// hungUp reports whether the other end of a connection has closed it. What it sent before
// need not have been read.
func hungUp(c *counted) (gone bool) {
	conn, err := c.SyscallConn()
	if err != nil {
		return true
	}
	err = conn.Control(func(fd uintptr) {
		look := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(look, 0)
		gone = err == nil && n > 0
	})
	return gone || err != nil
}

// give gives a message of the page to the connection. It reports whether that has it.
func (b *Box) give(c *client, m message) bool {
	kind := websocket.MessageText
	if m.bytes {
		kind = websocket.MessageBinary
	}
	ctx := b.ctx
	if c.left > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, b.pongWithin)
		defer cancel()
	}
	// Both end with the connection, which its reader notices.
	err := c.conn.Write(ctx, kind, m.data)
	if err == nil && c.left > 0 {
		err = c.conn.Ping(ctx)
	}
	if err != nil {
		_ = c.conn.CloseNow()
		c.left = 0
		return false
	}
	if c.left > 0 {
		if c.left--; c.left == 0 {
			b.running.Go(func() { _ = c.conn.Close(websocket.StatusNormalClosure, "") })
		}
	}
	return true
}
