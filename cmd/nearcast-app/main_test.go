package main

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/wire"
)

// What a script does wrong is said, with what to do; cmd/stream-host has a script that does
// right.
func TestWrongUse(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	gone := "ws://" + closed.Addr().String() + "/secret"
	large := strings.Repeat("x", wire.MaxAppMessage+1)
	for _, tt := range []struct {
		args []string
		in   string
		url  string
		want int
		says string
	}{
		{nil, "", gone, wrong, "give a command"},
		{[]string{"sent"}, "", gone, wrong, "no command"},
		{[]string{"send", "--loud", "1"}, "", gone, wrong, "loud"},
		{[]string{"send", "a", "b"}, "", gone, wrong, "quote"},
		{[]string{"recv", "a"}, "", gone, wrong, "unexpected"},
		{[]string{"send", "--text", "--bytes", "a"}, "", gone, wrong, "exclude"},
		{[]string{"send", "hello"}, "", gone, wrong, "--text"},
		{[]string{"send"}, "hello", gone, wrong, "--text"},
		{[]string{"send"}, "\"\xff\"", gone, wrong, "--bytes"},
		{[]string{"send", "--text"}, "\xff", gone, wrong, "--bytes"},
		{[]string{"send", "--text", "\xff"}, "", gone, wrong, "--bytes"},
		{[]string{"send", "--bytes", "\xff"}, "", gone, failed, "connect"},
		{[]string{"send", "--text"}, strings.Repeat("<", wire.MaxAppMessage-2), gone, failed, "connect"},
		{[]string{"send", "--bytes"}, large, gone, failed, "in parts"},
		{[]string{"send", "--text"}, large[:len(large)-3], gone, failed, "connect"},
		{[]string{"send", "1"}, "", "", failed, wire.MessagesEnv},
		{[]string{"send", "1"}, "", "http://127.0.0.1", failed, wire.MessagesEnv},
		{[]string{"send", "1"}, "", gone, failed, "connect"},
		{[]string{"recv"}, "", gone, failed, "connect"},
		{[]string{"ready"}, "", gone, failed, "ask the seat"},
		{[]string{"quit"}, "", gone, failed, "ask the seat"},
		{[]string{"--help"}, "", "", done, ""},
		{[]string{"send", "--help"}, "", "", done, ""},
		{[]string{"--version"}, "", "", done, ""},
	} {
		t.Setenv(wire.MessagesEnv, tt.url)
		var out, problems bytes.Buffer
		got := run(context.Background(), tt.args, strings.NewReader(tt.in), &out, &problems)
		if got != tt.want || !strings.Contains(problems.String(), tt.says) || (got == done) != (out.Len() > 0) {
			t.Errorf("nearcast-app %.60q ends with %d and says %q, %.40q; want %d and %q", tt.args, got, problems.String(), out.String(), tt.want, tt.says)
		}
	}
}
