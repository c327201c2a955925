package ticket

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestReadResume(t *testing.T) {
	token := func(payload string) string {
		return "h." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".s"
	}
	if session, seat := ReadResume(token(`{"sid":"s-1","seat":"alloc-1"}`)); session != "s-1" || seat != "alloc-1" {
		t.Errorf("got %q, %q", session, seat)
	}
	for _, bad := range []string{"", "a.b", "a.!.c", token(`{"sid":"s-1"}`), token(`[]`), token("no JSON"),
		token(`{"sid":"s-1","seat":"` + strings.Repeat("x", MaxToken) + `"}`)} {
		if session, seat := ReadResume(bad); session != "" || seat != "" {
			t.Errorf("%.40q was read as %q, %q", bad, session, seat)
		}
	}
}
