// A Go program to be profiled: it parses, sorts and prints on one goroutine, for ever.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
)

type item struct {
	Name  string   `json:"name"`
	Count int      `json:"count"`
	Tags  []string `json:"tags"`
}

func items(seed int) []item {
	found := make([]item, 0, 40)
	for number := 0; number < 40; number++ {
		name := fmt.Sprintf("item %d", (seed*31+number)%97)
		found = append(found, item{name, number, []string{"a", "b", "c"}})
	}
	return found
}

func page(seed int) int {
	found := items(seed)
	sort.Slice(found, func(i, j int) bool { return found[i].Name < found[j].Name })
	text, err := json.Marshal(found)
	if err != nil {
		panic(err)
	}
	var back []item
	if err := json.Unmarshal(text, &back); err != nil {
		panic(err)
	}
	fmt.Fprintln(io.Discard, strings.ToUpper(string(text)))
	return len(back)
}

func main() {
	done := make(chan int)
	go func() {
		for seed := 0; ; seed++ {
			page(seed)
		}
	}()
	<-done
}
