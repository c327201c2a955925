// Nearcast-app exchanges messages between a script in a seat and the person's page, for those
// who do not speak WebSocket (package seat/messages says how that goes). It is in the PATH of
// each app.
//
//	while m=$(nearcast-app recv); do
//		nearcast-app send "{\"you said\":$m}"
//	done
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/version"
	"github.com/nearcast/nearcast/internal/wire"
)

const usage = `nearcast-app exchanges messages with the page of the person at this seat.

  nearcast-app send [--text | --bytes] [MESSAGE]
      send MESSAGE, or what standard input has, and return when the seat has it. It is
      JSON; with --text it is sent as a JSON string, with --bytes as it is. While 64 messages
      or 1 MiB of them wait for the page, also before there is a person, this waits. After
      exit status 3 the seat may have the message all the same.
  nearcast-app recv
      wait for the next message of the page, and print it: JSON with a line feed at its
      end, bytes as they are
  nearcast-app ready
      say that the app is presentable, where its job has ready = "app"
  nearcast-app quit
      end the session, when the page has what was sent before
  nearcast-app --version

Flags, before the command's arguments:
  --timeout D   give up after this time, such as 500ms or 10s; without it, never

A message has at most 256 KiB. Programs can connect by WebSocket to the URL in
` + wire.MessagesEnv + ` instead.

Exit status: 0 done, 1 failed or the seat ended, 2 wrong usage, 3 the time was over.
`

// Exit statuses.
const (
	done   = 0
	failed = 1
	wrong  = 2
	late   = 3
)

// errUsage is what the caller did wrong.
var errUsage = errors.New("wrong usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, in io.Reader, out, problems io.Writer) int {
	err := command(ctx, args, in, out)
	switch {
	case err == nil:
		return done
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(out, usage)
		return done
	}
	fmt.Fprintln(problems, "nearcast-app:", err)
	switch {
	case errors.Is(err, errUsage):
		return wrong
	case errors.Is(err, context.DeadlineExceeded):
		return late
	}
	return failed
}

func command(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	name := ""
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	switch name {
	case "--version":
		fmt.Fprintln(out, "nearcast-app", version.String())
		return nil
	case "--help", "-h", "help":
		return flag.ErrHelp
	case "send", "recv", "ready", "quit":
	case "":
		return fmt.Errorf("%w: give a command, send, recv, ready or quit; see --help", errUsage)
	default:
		return fmt.Errorf("%w: there is no command %q; see --help", errUsage, name)
	}
	flags := flag.NewFlagSet("nearcast-app "+name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	timeout := flags.Duration("timeout", 0, "")
	text, raw := new(bool), new(bool)
	if name == "send" {
		flags.BoolVar(text, "text", false, "")
		flags.BoolVar(raw, "bytes", false, "")
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return fmt.Errorf("%w: %s: %w", errUsage, name, err)
	}
	most := 0
	if name == "send" {
		most = 1
	}
	if flags.NArg() > most {
		return fmt.Errorf("%w: %s: unexpected argument %q; quote a message that has blanks", errUsage, name, flags.Arg(most))
	}
	if *text && *raw {
		return fmt.Errorf("%w: send: --text and --bytes exclude each other", errUsage)
	}
	at, err := seat()
	if err != nil {
		return err
	}
	if *timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *timeout)
		defer cancel()
	}
	switch name {
	case "send":
		m, err := message(flags.Args(), in, *text, *raw)
		if err != nil {
			return err
		}
		return send(ctx, at, m, *raw)
	case "recv":
		return receive(ctx, at, out)
	case "ready":
		return say(ctx, at, wire.ReadyPath)
	}
	return say(ctx, at, wire.QuitPath)
}

// seat is where the seat takes messages.
func seat() (*url.URL, error) {
	text := os.Getenv(wire.MessagesEnv)
	if text == "" {
		return nil, fmt.Errorf("%s is not set: run this in a seat, and let the app pass its environment on", wire.MessagesEnv)
	}
	at, err := url.Parse(text)
	if err != nil || at.Scheme != "ws" {
		return nil, fmt.Errorf("%s is %q, which is no URL such as ws://127.0.0.1:1234/…", wire.MessagesEnv, text)
	}
	return at, nil
}

// message is what is to be sent.
func message(args []string, in io.Reader, text, raw bool) ([]byte, error) {
	var m []byte
	if len(args) > 0 {
		m = []byte(args[0])
	} else {
		var err error
		if m, err = io.ReadAll(io.LimitReader(in, wire.MaxAppMessage+1)); err != nil {
			return nil, fmt.Errorf("read the message: %w", err)
		}
	}
	if !raw && !utf8.Valid(m) && len(m) <= wire.MaxAppMessage { // more may end within a character
		return nil, fmt.Errorf("%w: the message is not UTF-8; send it with --bytes", errUsage)
	}
	if text {
		var b bytes.Buffer
		to := json.NewEncoder(&b)
		to.SetEscapeHTML(false) // three characters would have six bytes
		if err := to.Encode(strings.TrimSuffix(string(m), "\n")); err != nil {
			return nil, fmt.Errorf("encode the message: %w", err)
		}
		m = bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	}
	if len(m) > wire.MaxAppMessage {
		return nil, fmt.Errorf("the message has more than %d bytes; send it in parts", wire.MaxAppMessage)
	}
	if !raw && !json.Valid(m) {
		return nil, fmt.Errorf("%w: the message is no JSON; send texts with --text, and others with --bytes", errUsage)
	}
	return m, nil
}

// connect opens a WebSocket that gets so many messages of the page.
func connect(ctx context.Context, at *url.URL, messages string) (*websocket.Conn, error) {
	to := *at
	to.RawQuery = url.Values{wire.ReceiveQuery: {messages}}.Encode()
	conn, resp, err := websocket.Dial(ctx, to.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("connect to the seat: %w%s", err, detail(resp))
	}
	conn.SetReadLimit(wire.MaxAppMessage)
	return conn, nil
}

// detail is why the seat refused.
func detail(resp *http.Response) string {
	if resp == nil || resp.Body == nil {
		return ""
	}
	why, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	if len(why) == 0 {
		return ""
	}
	return ": " + strings.TrimSpace(string(why))
}

func send(ctx context.Context, at *url.URL, m []byte, raw bool) error {
	conn, err := connect(ctx, at, "0")
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	kind := websocket.MessageText
	if raw {
		kind = websocket.MessageBinary
	}
	if err := conn.Write(ctx, kind, m); err != nil {
		return fmt.Errorf("send the message: %w", err)
	}
	conn.CloseRead(ctx) // it takes the pong
	if err := conn.Ping(ctx); err != nil {
		return fmt.Errorf("the seat has not taken the message: %w", err)
	}
	return nil
}

func receive(ctx context.Context, at *url.URL, out io.Writer) error {
	conn, err := connect(ctx, at, "1")
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	kind, m, err := conn.Read(ctx)
	if err != nil {
		return fmt.Errorf("wait for a message: %w", err)
	}
	if kind == websocket.MessageText {
		m = append(m, '\n')
	}
	if _, err := out.Write(m); err != nil {
		return fmt.Errorf("print the message: %w", err)
	}
	// It answers the seat's ping: only now the message is taken.
	if _, _, err = conn.Read(ctx); websocket.CloseStatus(err) == websocket.StatusNormalClosure {
		return nil
	}
	return fmt.Errorf("the message was printed, and may come again: %w", err)
}

func say(ctx context.Context, at *url.URL, what string) error {
	to := url.URL{Scheme: "http", Host: at.Host, Path: at.Path + what}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), nil)
	if err != nil {
		return fmt.Errorf("ask the seat: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask the seat: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("the seat answers %s%s", resp.Status, detail(resp))
	}
	return nil
}
