package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"dproxy/event"
)

// column is one column of a command's answer.
type column struct {
	key    string // in JSON
	title  string // everywhere else; key when empty
	expand bool   // takes the room that a table's other columns leave
	number bool   // not quoted in JSON
}

func (c column) name() string {
	if c.title != "" {
		return c.title
	}
	return c.key
}

// printer writes rows in one of doveadm's formats.
type printer interface {
	row(cells ...string)
	end() error
}

// formatters are what -f accepts.
var formatters = map[string]func(*bufio.Writer, []column) printer{
	"flow":  func(w *bufio.Writer, c []column) printer { return &flowPrinter{w, c} },
	"pager": func(w *bufio.Writer, c []column) printer { return &pagerPrinter{w: w, columns: c} },
	"tab":   newTab,
	"table": func(w *bufio.Writer, c []column) printer {
		return &tablePrinter{w: w, columns: c, width: terminalWidth()}
	},
	"json": func(w *bufio.Writer, c []column) printer { return &jsonPrinter{w: w, columns: c} },
}

// newPrinter makes the printer of a format. An empty format is the command's own.
func newPrinter(format, own string, columns []column) (printer, error) {
	if format == "" {
		format = own
	}
	make, ok := formatters[format]
	if !ok {
		return nil, fatalAs(exitTemp, "doveadm: Fatal: Unknown print formatter: "+format)
	}
	return make(bufio.NewWriter(os.Stdout), columns), nil
}

// maxShown bounds a value; control characters in it would be the terminal's.
const maxShown = 64 << 10

func shown(s string) string { return event.Clean(s, maxShown) }

// flowPrinter writes key=value pairs, a line for each row.
type flowPrinter struct {
	w       *bufio.Writer
	columns []column
}

func (p *flowPrinter) row(cells ...string) {
	for i, c := range cells {
		if i > 0 {
			p.w.WriteByte(' ')
		}
		p.w.WriteString(p.columns[i].name() + "=" + shown(c))
	}
	p.w.WriteByte('\n')
}

func (p *flowPrinter) end() error { return p.w.Flush() }

// pagerPrinter writes a line for each value and a form feed between rows.
type pagerPrinter struct {
	w       *bufio.Writer
	columns []column
	begun   bool
}

func (p *pagerPrinter) row(cells ...string) {
	if p.begun {
		p.w.WriteString("\f\n")
	}
	p.begun = true
	for i, c := range cells {
		p.w.WriteString(p.columns[i].name() + ": " + shown(c) + "\n")
	}
}

func (p *pagerPrinter) end() error { return p.w.Flush() }

// tabPrinter writes a header and rows with tabs between the values.
type tabPrinter struct{ w *bufio.Writer }

func newTab(w *bufio.Writer, columns []column) printer {
	p := &tabPrinter{w}
	var head []string
	for _, c := range columns {
		head = append(head, c.name())
	}
	p.row(head...)
	return p
}

func (p *tabPrinter) row(cells ...string) {
	for i, c := range cells {
		if i > 0 {
			p.w.WriteByte('\t')
		}
		p.w.WriteString(shown(c))
	}
	p.w.WriteByte('\n')
}

func (p *tabPrinter) end() error { return p.w.Flush() }

// jsonPrinter writes one array of objects, without a line end, as doveadm does.
type jsonPrinter struct {
	w       *bufio.Writer
	columns []column
	begun   bool
}

func (p *jsonPrinter) row(cells ...string) {
	if p.begun {
		p.w.WriteByte(',')
	} else {
		p.w.WriteByte('[')
	}
	p.begun = true
	for i, c := range cells {
		p.w.WriteByte("{,"[min(i, 1)])
		p.w.WriteString(jsonText(p.columns[i].key) + ":")
		if p.columns[i].number {
			p.w.WriteString(c)
		} else {
			p.w.WriteString(jsonText(c))
		}
	}
	p.w.WriteByte('}')
}

func (p *jsonPrinter) end() error {
	if !p.begun {
		p.w.WriteByte('[')
	}
	p.w.WriteByte(']')
	return p.w.Flush()
}

// jsonText quotes a text. Only what JSON requires is escaped.
func jsonText(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// tablePrinter writes a header and rows in columns. They are as wide as their widest value, as far as the terminal has
// room; what is left of it widens a column.
type tablePrinter struct {
	w       *bufio.Writer
	columns []column
	width   int
	rows    [][]string
}

func (p *tablePrinter) row(cells ...string) {
	clean := make([]string, len(cells))
	for i, c := range cells {
		clean[i] = shown(c)
	}
	p.rows = append(p.rows, clean)
}

func (p *tablePrinter) end() error {
	var head []string
	for _, c := range p.columns {
		head = append(head, c.name())
	}
	widths := p.widths(head)
	for _, cells := range append([][]string{head}, p.rows...) {
		for i, c := range cells {
			if i > 0 {
				p.w.WriteByte(' ')
			}
			p.w.WriteString(c)
			p.w.WriteString(strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(c))))
		}
		p.w.WriteByte('\n')
	}
	return p.w.Flush()
}

// widths divides the line as doveadm 2.3 does: a line that is too long loses from its last columns what their shortest
// value does not need, or, when that cannot be enough, half of it everywhere.
func (p *tablePrinter) widths(head []string) []int {
	least, most := make([]int, len(head)), make([]int, len(head))
	total := len(head) - 1
	for i, h := range head {
		least[i] = utf8.RuneCountInString(h)
		most[i] = least[i]
		for _, cells := range p.rows {
			n := utf8.RuneCountInString(cells[i])
			least[i], most[i] = min(least[i], n), max(most[i], n)
		}
		total += most[i]
	}
	if total <= p.width {
		at := slices.IndexFunc(p.columns, func(c column) bool { return c.expand })
		if at < 0 {
			at = len(head) - 1
		}
		most[at] += (p.width - total) / 2
		return most
	}
	for i := len(head) - 1; i >= 0; i-- {
		spare := most[i] - least[i]
		if total-spare <= p.width {
			most[i] -= total - p.width
			break
		}
		if spare == 1 {
			most[i]--
		} else {
			most[i] -= spare / 2
		}
	}
	return most
}

// terminalWidth is that of the terminal on standard input, as for doveadm, or 80.
func terminalWidth() int {
	if ws, err := unix.IoctlGetWinsize(int(os.Stdin.Fd()), unix.TIOCGWINSZ); err == nil && ws.Col > 0 {
		return int(ws.Col)
	}
	return 80
}

// isTerminal tells whether a file is one.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// fatalAs prints an error and gives an exit status.
func fatalAs(status int, text string) error {
	fmt.Fprintln(os.Stderr, text)
	return exit(status)
}
