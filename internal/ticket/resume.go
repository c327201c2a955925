package ticket

import (
	"encoding/base64"
	"encoding/json"
	"strings"
)

// ReadResume reads what a resume token says, without checking it: only the seat that
// signed it can do that. It says where to ask. seat is empty where the token is none.
func ReadResume(token string) (session, seat string) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || len(token) > MaxToken {
		return "", ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", ""
	}
	var claims struct {
		Session string `json:"sid"`
		Seat    string `json:"seat"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Seat == "" {
		return "", ""
	}
	return claims.Session, claims.Seat
}
