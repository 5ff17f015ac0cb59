package main

import (
	"bufio"
	"bytes"
	"testing"
)

func TestProxyListOfSeveralProcesses(t *testing.T) {
	var l proxyList
	for _, answer := range [][][]string{
		{{"username", "user_a", "service", "dest-port"}, {"u", "x", "imap", "143"}},
		{{"username", "user_b", "user_a", "service", "dest-port"}, {"v", "y", "z", "pop3", "110"}},
		{{"username", "service", "dest-port"}},
	} {
		for i, cells := range answer {
			if err := l.row(cells, i == 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	if err := l.to(func(c []column) (printer, error) { return newTab(w, c), nil }); err != nil {
		t.Fatal(err)
	}
	if want := "username\tuser_a\tuser_b\tproto\tport\nu\tx\t\timap\t143\nv\tz\ty\tpop3\t110\n"; out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestPrinters(t *testing.T) {
	columns := []column{{key: "a"}, {key: "n", title: "#", number: true}}
	for _, c := range []struct {
		name, format string
		rows         [][]string
		want         string
	}{
		{"a terminal's controls are not passed on", "flow", [][]string{{"x\x1b[1m", "1"}}, "a=x?[1m #=1\n"},
		{"JSON is escaped", "json", [][]string{{"\"\\\n\x01é", "1"}, {"", "2"}}, `[{"a":"\"\\\n\u0001é","n":1},{"a":"","n":2}]`},
		{"JSON of nothing", "json", nil, "[]"},
		{"pager", "pager", [][]string{{"x", "1"}, {"y", "2"}}, "a: x\n#: 1\n\f\na: y\n#: 2\n"},
		{"tab", "tab", [][]string{{"x", "1"}}, "a\t#\nx\t1\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			p := formatters[c.format](bufio.NewWriter(&out), columns)
			for _, cells := range c.rows {
				p.row(cells...)
			}
			if err := p.end(); err != nil || out.String() != c.want {
				t.Errorf("got %q (%v), want %q", out.String(), err, c.want)
			}
		})
	}
}

func TestTableWidths(t *testing.T) {
	for _, c := range []struct {
		name    string
		columns []column
		rows    [][]string
		want    []int
	}{
		// The widths are those of doveadm 2.3.19 for such rows.
		{"the last column takes half of what is left", []column{{key: "IP"}, {key: "penalty"}, {key: "last_penalty"}, {key: "last_update"}}, nil, []int{2, 7, 12, 33}},
		{"unless another expands", []column{{key: "username", expand: true}, {key: "proto"}, {key: "src ip"}, {key: "dest ip"}, {key: "port"}}, [][]string{{"bob", "pop3", "127.0.0.1", "127.91.0.2", "20110"}}, []int{27, 5, 9, 10, 5}},
		{
			"a line that is too long is cut at its end",
			[]column{{key: "name"}, {key: "pid"}, {key: "available_count"}, {key: "total_count"}, {key: "idle_start"}, {key: "last_status_update"}, {key: "last_kill_sent"}},
			[][]string{{"auth", "20378", "1000", "6", "1795518851", "1795518851", "0"}},
			[]int{4, 5, 15, 11, 10, 18, 11},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := tablePrinter{columns: c.columns, width: 80, rows: c.rows}
			var head []string
			for _, x := range c.columns {
				head = append(head, x.name())
			}
			got := p.widths(head)
			for i := range got {
				if got[i] != c.want[i] {
					t.Fatalf("got %v, want %v", got, c.want)
				}
			}
		})
	}
}
