package dialog

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/diff"
)

// Outcome is what became of one case.
type Outcome struct {
	Case
	Got Views
	Err error // the case could not be played
}

// Same says whether clients and backends heard exactly what the golden file says.
func (o *Outcome) Same() bool {
	return o.Err == nil && o.Got.Client == o.Golden.Client && o.Got.Backend == o.Golden.Backend
}

// SameLog says whether the log lines are the golden file's too. This is a second, softer goal.
func (o *Outcome) SameLog() bool {
	return o.Err == nil && (o.Golden.Log == NotCompared || o.Got.Log == o.Golden.Log)
}

// Diff shows the differences: of the log only when it is asked for. It is empty when there are none.
func (o *Outcome) Diff(withLog bool) string {
	if o.Err != nil {
		return o.Err.Error() + "\n"
	}
	want, got := o.Golden, o.Got
	if !withLog || want.Log == NotCompared {
		want.Log, got.Log = "", ""
	}
	return string(diff.Diff("golden", []byte(want.Golden(o.Name)), "got", []byte(got.Golden(o.Name))))
}

// RunAll plays cases, some of them at the same time, and gives the outcomes in the same order. Most of the time
// a case waits for processes to start, so more of them run than there are processors.
func (r *Runner) RunAll(ctx context.Context, cases []Case, atOnce int) []Outcome {
	out := make([]Outcome, len(cases))
	next := make(chan int)
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for i := range next {
				out[i].Case = cases[i]
				out[i].Got, out[i].Err = r.Run(ctx, cases[i].Scenario)
			}
		})
	}
	for i := range cases {
		next <- i
	}
	close(next)
	workers.Wait()
	return out
}

// Summary counts the identical scenarios, over all and for each set of protocols. Quirks are not counted.
func Summary(outcomes []Outcome) string {
	type count struct{ same, sameLog, all int }
	total := count{}
	var names []string
	groups := map[string]*count{}
	for i := range outcomes {
		o := &outcomes[i]
		if o.Quirk() {
			continue
		}
		name := strings.Join(o.Protocols(), "+")
		if groups[name] == nil {
			groups[name] = &count{}
			names = append(names, name)
		}
		for _, c := range []*count{&total, groups[name]} {
			c.all++
			if o.Same() {
				c.same++
			}
			if o.Same() && o.SameLog() {
				c.sameLog++
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d scenarios identical (%d with their log lines too)\n", total.same, total.all, total.sameLog)
	for _, n := range names {
		g := groups[n]
		fmt.Fprintf(&b, "  %-30s %3d of %3d (log %d)\n", n, g.same, g.all, g.sameLog)
	}
	return b.String()
}
