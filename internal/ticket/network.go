package ticket

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
)

// HashNetwork is the Network of a ticket: brains count the sessions of a network by
// it. The ticket key is its salt, so that nobody without the key can try all networks
// and find which one it is.
func (s *Signer) HashNetwork(network netip.Prefix) string {
	mac := hmac.New(sha256.New, s.key.Seed())
	mac.Write([]byte("network " + network.Masked().String()))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}
