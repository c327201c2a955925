package dev

import (
	"strings"
	"testing"
)

// What a developer has the router do more reaches its job.
func TestRouterOptions(t *testing.T) {
	c := &Cluster{ConsulAddress: "127.0.0.1:8500", routerArgs: []string{"--oidc-issuer=http://localhost:8080"}}
	if text := c.router().variables(c); !strings.Contains(text, `options   = ["--consul=127.0.0.1:8500", "--oidc-issuer=http://localhost:8080"]`) {
		t.Error(text)
	}
	if text := c.console().variables(c); strings.Contains(text, "oidc") {
		t.Errorf("the console has the router's options:\n%s", text)
	}
}
