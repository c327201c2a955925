package attack

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// loopback connects to the services on the node's loopback: Consul, Nomad.
func loopback(c ctx, a *attacker) Result {
	a.connectPorts(c, a.Loopback)
	return a.result()
}

// outside connects to the node's other addresses, and to what lies beyond.
func outside(c ctx, a *attacker) Result {
	a.connectPorts(c, a.Outside)
	return a.result()
}

func (a *attacker) connectPorts(c ctx, addresses []string) {
	for _, address := range addresses {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(c, "tcp", address)
		if err != nil {
			a.refuse(address, err)
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(500 * time.Millisecond))
		// Consul and Nomad both answer this; what tells its secret by itself does too.
		_, _ = fmt.Fprintf(conn, "GET /v1/agent/self HTTP/1.0\r\n\r\n")
		answer := make([]byte, 512)
		n, _ := conn.Read(answer)
		_ = conn.Close()
		line, _, _ := strings.Cut(string(answer[:n]), "\r\n")
		if s := a.secret(string(answer[:n])); s != "" {
			line = "tells " + s
		}
		a.succeed("%s accepts, %s", address, line)
	}
}

// metadata asks for what the cloud tells each instance: the node's credentials.
func metadata(c ctx, a *attacker) Result {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, url := range a.Metadata {
		req, err := http.NewRequestWithContext(c, http.MethodGet, url, nil)
		if err != nil {
			a.refuse(url, err)
			continue
		}
		switch status, body, err := do(&client, req); {
		case err != nil:
			a.refuse(url, err)
		default:
			a.succeed("%s answers %d, %s", url, status, a.secret(body))
		}
	}
	return a.result()
}

// rawSocket reads and forges packets.
func rawSocket(_ ctx, a *attacker) Result {
	for name, kind := range map[string][3]int{
		"packet socket": {unix.AF_PACKET, unix.SOCK_RAW, 0x0300}, // ETH_P_ALL, in network order
		"raw IP socket": {unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP},
		"raw v6 socket": {unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6},
	} {
		fd, err := unix.Socket(kind[0], kind[1], kind[2])
		if err == nil {
			unix.Close(fd)
		}
		a.try(name, err)
	}
	return a.result()
}

// vsock reaches from a virtual machine to the one that runs it, past every firewall.
func vsock(_ ctx, a *attacker) Result {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		a.refuse("socket", err)
		return a.result()
	}
	unix.Close(fd)
	a.succeed("made a socket to the machine that runs this one")
	return a.result()
}

// socketFamilies makes sockets that no app needs and in which holes were found. Some
// let the kernel load a module.
func socketFamilies(_ ctx, a *attacker) Result {
	const afRXRPC, afKCM, afSMC, afXDP, afQIPCRTR = 33, 41, 43, 44, 42
	var made, none []string
	for name, family := range map[string]int{
		"AF_ALG": unix.AF_ALG, "AF_CAN": unix.AF_CAN, "AF_TIPC": unix.AF_TIPC, "AF_RDS": unix.AF_RDS,
		"AF_RXRPC": afRXRPC, "AF_KCM": afKCM, "AF_SMC": afSMC, "AF_XDP": afXDP, "AF_QIPCRTR": afQIPCRTR,
		"AF_APPLETALK": unix.AF_APPLETALK, "AF_X25": unix.AF_X25, "AF_BLUETOOTH": unix.AF_BLUETOOTH,
	} {
		for _, kind := range []int{unix.SOCK_SEQPACKET, unix.SOCK_DGRAM, unix.SOCK_STREAM, unix.SOCK_RAW} {
			fd, err := unix.Socket(family, kind, 0)
			if err == nil {
				unix.Close(fd)
				made = append(made, name)
				break
			}
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
				a.refuse(name, err)
				break
			}
			if kind == unix.SOCK_RAW {
				none = append(none, name) // this kernel has not got it
			}
		}
	}
	if len(made) > 0 {
		a.succeed("made sockets %s", strings.Join(made, ", "))
	}
	if len(a.refused) == 0 {
		// A profile that refuses a family says EAFNOSUPPORT, as a kernel without it.
		a.refused = append(a.refused, "the kernel says that it has none of "+strings.Join(none, ", "))
	}
	return a.result()
}
