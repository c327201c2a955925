package dev

import (
	"net"
	"strings"
	"testing"
)

func TestPortsFrom(t *testing.T) {
	if p := PortsFrom(7700); p.Router != 7700 || p.Brain != 7701 || p.NomadClient != 7710 || p.BrainInternal != 7712 || p.Console != 7713 {
		t.Errorf("ports %+v", p)
	}
}

// A taken port is named, with what it is for, who has it, and what to do.
func TestTakenPort(t *testing.T) {
	p, err := FreePorts()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.check(); err != nil {
		t.Fatalf("free ports: %v", err)
	}
	l, err := net.Listen("tcp", local(p.Nomad))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = p.check()
	if err == nil {
		t.Fatal("a taken port passes")
	}
	for _, want := range []string{local(p.Nomad), "Nomad", "dev.test, pid", "--port"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}
