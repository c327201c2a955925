package attack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// listedSockets are the Unix sockets that the kernel lists in this network namespace.
func listedSockets() (names []string) {
	f, err := os.Open("/proc/net/unix")
	if err != nil {
		return nil
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 7 && !slices.Contains(names, fields[7]) {
			names = append(names, fields[7])
		}
	}
	return names
}

// walkedSockets are the sockets in the directories where programs put them.
func walkedSockets() (names []string) {
	for _, root := range []string{"/tmp", "/run", "/var/run", "/var/tmp"} {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil && d != nil && d.IsDir():
				return fs.SkipDir
			case err != nil:
				return nil
			case d.IsDir() && strings.Count(path, "/") > 6:
				return fs.SkipDir
			case d.Type() == fs.ModeSocket:
				names = append(names, path)
			}
			return nil
		})
	}
	return names
}

// mayTry reports whether a socket that was found is of what may be attacked, and not
// of this seat.
func (a *attacker) mayTry(name string) bool {
	return !a.isOwn(name) && slices.ContainsFunc(a.SocketScope, func(begin string) bool { return strings.HasPrefix(name, begin) })
}

func (a *attacker) isOwn(name string) bool {
	display := displaySocket(os.Getenv("DISPLAY"))
	return name == display || name == "@"+display || name == soundSocket() || filepath.Dir(name) == filepath.Dir(soundSocket())
}

func pathSockets(c ctx, a *attacker) Result {
	return a.connectAll(c, append(listedSockets(), walkedSockets()...), func(name string) bool { return strings.HasPrefix(name, "/") })
}

func abstractSockets(c ctx, a *attacker) Result {
	return a.connectAll(c, listedSockets(), func(name string) bool { return strings.HasPrefix(name, "@") })
}

// connectAll tries the sockets of one kind that it was given and that it found.
func (a *attacker) connectAll(c ctx, found []string, kind func(string) bool) Result {
	names := slices.Clone(a.Sockets)
	for _, name := range found {
		if a.mayTry(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if !kind(name) || a.isOwn(name) {
			continue
		}
		said, err := greet(c, name)
		switch {
		case err != nil:
			a.refuse(name, err)
		case a.secret(said) != "":
			// First, as the best proof.
			a.got = append([]string{fmt.Sprintf("%s tells %s", name, a.secret(said))}, a.got...)
		default:
			a.succeed("%s accepts", name)
		}
	}
	return a.result()
}

// greet connects to a Unix socket of any type, and reads what it says by itself.
func greet(c ctx, name string) (said string, err error) {
	for _, network := range []string{"unix", "unixpacket", "unixgram"} {
		var conn net.Conn
		if conn, err = (&net.Dialer{Timeout: time.Second}).DialContext(c, network, name); err == nil {
			text := make([]byte, 256)
			_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			n, _ := conn.Read(text)
			return string(text[:n]), conn.Close()
		}
		if !errors.Is(err, unix.EPROTOTYPE) {
			break
		}
	}
	return "", err
}

// request sends a request to an HTTP server on a Unix socket.
func request(c ctx, socket, method, path, token string) (status int, body string, err error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(c context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(c, "unix", socket)
	}}}
	c, cancel := context.WithTimeout(c, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(c, method, "http://localhost"+path, nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		req.Header.Set("X-Nomad-Token", token)
	}
	return do(&client, req)
}

func do(client *http.Client, req *http.Request) (status int, body string, err error) {
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, string(text), err
}

// controlSocket speaks to stream hosts as the driver does. It asks for the status
// alone: who gets that could stop the seat as well.
func controlSocket(c ctx, a *attacker) Result {
	for _, socket := range a.Control {
		status, body, err := request(c, socket, http.MethodGet, "/status", "")
		switch {
		case err != nil:
			a.refuse(socket, err)
		case status != http.StatusOK:
			a.refuse(socket, fmt.Errorf("HTTP status %d", status))
		default:
			a.succeed("%s answers as it answers the driver: %.80s", socket, body)
		}
	}
	return a.result()
}

// taskAPI uses the socket on which Nomad serves its own API to each task, with the
// task's identity where the app finds it.
func taskAPI(c ctx, a *attacker) Result {
	secrets := os.Getenv("NOMAD_SECRETS_DIR")
	if secrets == "" {
		a.lack("NOMAD_SECRETS_DIR is not set")
		return a.result()
	}
	socket := filepath.Join(secrets, "api.sock")
	token := os.Getenv("NOMAD_TOKEN")
	if text, err := os.ReadFile(filepath.Join(secrets, "nomad_token")); err == nil {
		token = string(text)
	}
	for _, path := range []string{"/v1/agent/self", "/v1/jobs", "/v1/nodes", "/v1/vars"} {
		status, body, err := request(c, socket, http.MethodGet, path, token)
		switch {
		case err != nil:
			a.refuse(socket, err)
			return a.result()
		case status != http.StatusOK:
			a.refuse(path, fmt.Errorf("HTTP status %d: %.60s", status, strings.TrimSpace(body)))
		case body == "[]\n" || body == "[]":
			a.refuse(path, errors.New("nothing is listed"))
		default:
			a.succeed("Nomad answers %s (%d bytes, token: %v)", path, len(body), token != "")
		}
	}
	return a.result()
}
