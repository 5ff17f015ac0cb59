// Package admin is the administration of the running server: the control socket that the commands talk to, with what they
// show and change, and the HTTP listener with metrics and health. It listens on loopback and in base_dir only, bounds what
// it reads, and never holds up a login. It imports session, route, auth, conf and event; cmd/dproxy imports it.
//
// On the control socket a connection carries one request, a line of JSON (Request). The answer is lines of JSON: each row
// is an array of strings, the last line is an End.
package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
)

const (
	// maxRequest bounds a request's line, in bytes.
	maxRequest = 64 << 10
	// maxRow bounds a line of an answer, as the commands read it.
	maxRow = 1 << 20
)

// SocketName is the control socket's name below base_dir.
const SocketName = "dproxy-admin"

// SocketPath is the control socket's place.
func SocketPath(baseDir string) string { return filepath.Join(baseDir, SocketName) }

// SocketPaths are the control sockets at path and of processes that have been upgraded and still have sessions: path with
// their process ids. The first is path itself, whether or not it is there.
func SocketPaths(path string) []string {
	old, _ := filepath.Glob(globQuote.Replace(path) + ".[0-9]*") // the pattern is well-formed
	return append([]string{path}, old...)
}

var globQuote = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`)

// Request is one command. What a command does not know must be empty.
type Request struct {
	Command  string   `json:"command"`
	Users    []string `json:"users,omitempty"`    // names, or masks with * and ?
	Net      string   `json:"net,omitempty"`      // address[/bits]
	Field    string   `json:"field,omitempty"`    // a passdb field
	Hosts    []string `json:"hosts,omitempty"`    // backends
	Names    []string `json:"names,omitempty"`    // services, metrics
	Master   string   `json:"master,omitempty"`   // the user that authenticates
	Password string   `json:"password,omitempty"` // of the user or the master
	Info     []string `json:"info,omitempty"`     // key=value of the connection that is told of
	Separate bool     `json:"separate,omitempty"` // a row for each connection
	Checked  bool     `json:"checked,omitempty"`  // the password counts, even when it is empty
	Since    int64    `json:"since,omitempty"`    // Unix time
	Depth    string   `json:"depth,omitempty"`    // of explain: "", dial, login
	Seconds  int      `json:"seconds,omitempty"`
}

// Status says how a command ended.
type Status string

// The statuses.
const (
	OK        Status = "ok"
	Usage     Status = "usage"      // the request makes no sense
	NotFound  Status = "not_found"  // there is nothing to act on
	Denied    Status = "denied"     // authentication failed
	Temporary Status = "temp_fail"  // not now
	Unknown   Status = "no_command" // this server has no such command
)

// End is the last line of an answer.
type End struct {
	Status Status `json:"status"`
	Error  string `json:"error,omitempty"`
}

// fault is an error with the status it gives an answer.
type fault struct {
	status Status
	text   string
}

// Error implements error.
func (f *fault) Error() string { return f.text }

// readRequest reads a request's line.
func readRequest(r io.Reader) (*Request, error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxRequest)).ReadBytes('\n')
	if err != nil {
		if errors.Is(err, io.EOF) && len(line) == maxRequest {
			return nil, &fault{Usage, fmt.Sprintf("the request is longer than %d bytes", maxRequest)}
		}
		return nil, err
	}
	return parseRequest(line)
}

// parseRequest refuses what it does not know, so that a command never does less than was asked for.
func parseRequest(line []byte) (*Request, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	var q Request
	if err := d.Decode(&q); err != nil {
		return nil, &fault{Usage, "the request cannot be read"}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, &fault{Usage, "something follows the request"}
	}
	return &q, nil
}

// Call runs a command at the server that listens at path and gives each row of its answer to row. A nil error means that
// the server has answered to the end; End says with what.
func Call(ctx context.Context, path string, q *Request, row func([]string) error) (End, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return End{}, err
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	text, err := json.Marshal(q)
	if err != nil {
		return End{}, err
	}
	if _, err := nc.Write(append(text, '\n')); err != nil {
		return End{}, err
	}
	lines := bufio.NewScanner(nc)
	lines.Buffer(nil, maxRow)
	for lines.Scan() {
		if bytes.HasPrefix(lines.Bytes(), []byte{'{'}) {
			var end End
			return end, json.Unmarshal(lines.Bytes(), &end)
		}
		var cells []string
		if err := json.Unmarshal(lines.Bytes(), &cells); err != nil {
			return End{}, err
		}
		if err := row(cells); err != nil {
			return End{}, err
		}
	}
	if err := lines.Err(); err != nil {
		return End{}, err
	}
	return End{}, io.ErrUnexpectedEOF
}
