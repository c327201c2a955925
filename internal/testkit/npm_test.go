package testkit

import "testing"

func TestUnreached(t *testing.T) {
	for code, want := range map[string]bool{
		"ENOTFOUND": true, "EAI_AGAIN": true, "ERR_SOCKET_TIMEOUT": true, "FETCH_ERROR": true, "E401": true, "E403": true, "E407": true, "E502": true, "E503": true,
		"SELF_SIGNED_CERT_IN_CHAIN": true, "UNABLE_TO_GET_ISSUER_CERT_LOCALLY": true, "UNABLE_TO_VERIFY_LEAF_SIGNATURE": true,
		"EINTEGRITY": false, "ERESOLVE": false, "E404": false, "EUSAGE": false,
	} {
		for _, prefix := range []string{"npm error code ", "npm ERR! code "} {
			out := "npm warn old lockfile\n" + prefix + code + "\nnpm error sha512-E503/ENOTFOUND= wanted\n"
			if got := unreached.MatchString(out); got != want {
				t.Errorf("%s%s: the registry was not reached: %v, want %v", prefix, code, got, want)
			}
		}
	}
}
