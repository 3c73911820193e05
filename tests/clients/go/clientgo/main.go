// A program on client-go as operators are written: typed, applied, listed in pages, watched by
// informers, found by a mapper, read by the dynamic and metadata clients, led by one of two.
// It prints what it found, one line a step, and ends with 1 at the first surprise.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/pager"
	toolswatch "k8s.io/client-go/tools/watch"
	"k8s.io/client-go/util/retry"
)

var widgets = schema.GroupVersionResource{Group: "clients.example.com", Version: "v1", Resource: "widgets"}

type program struct {
	ctx       context.Context
	config    *rest.Config
	client    kubernetes.Interface
	namespace string
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "")
	namespace := flag.String("namespace", "default", "")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	must(err)
	config.QPS, config.Burst = 1000, 1000
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	p := program{ctx, config, kubernetes.NewForConfigOrDie(config), *namespace}
	p.typed()
	p.applied()
	p.paged()
	p.informed()
	p.dynamic()
	p.resumed()
	p.led()
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "surprise:", err)
		os.Exit(1)
	}
}

func expect(holds bool, format string, values ...any) {
	if !holds {
		must(fmt.Errorf(format, values...))
	}
}

func (p program) maps() typed.ConfigMapInterface {
	return p.client.CoreV1().ConfigMaps(p.namespace)
}

func named(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
}

// Four writers at once lose nothing when each tries again on a conflict.
func (p program) typed() {
	_, err := p.maps().Create(p.ctx, named("typed", map[string]string{}), metav1.CreateOptions{})
	must(err)
	_, err = p.maps().Create(p.ctx, named("typed", nil), metav1.CreateOptions{})
	expect(errors.IsAlreadyExists(err), "a second creation: %v", err)
	var all sync.WaitGroup
	for writer := range 4 {
		all.Add(1)
		go func() {
			defer all.Done()
			for n := range 5 {
				must(retry.OnError(retry.DefaultBackoff, errors.IsConflict, func() error {
					held, err := p.maps().Get(p.ctx, "typed", metav1.GetOptions{})
					if err != nil {
						return err
					}
					if held.Data == nil {
						held.Data = map[string]string{}
					}
					held.Data[fmt.Sprintf("%d-%d", writer, n)] = "x"
					_, err = p.maps().Update(p.ctx, held, metav1.UpdateOptions{})
					return err
				}))
			}
		}()
	}
	all.Wait()
	held, err := p.maps().Get(p.ctx, "typed", metav1.GetOptions{})
	must(err)
	expect(len(held.Data) == 20, "updates were lost: %v", held.Data)
	must(p.maps().Delete(p.ctx, "typed", metav1.DeleteOptions{}))
	_, err = p.maps().Get(p.ctx, "typed", metav1.GetOptions{})
	expect(errors.IsNotFound(err), "after its deletion: %v", err)
	fmt.Println("typed")
}

// Two managers, a conflict, a forced apply, and fields that go with their owner.
func (p program) applied() {
	apply := func(manager string, force bool, data map[string]string) error {
		wanted := applycore.ConfigMap("applied", p.namespace).WithData(data)
		_, err := p.maps().Apply(p.ctx, wanted, metav1.ApplyOptions{FieldManager: manager, Force: force})
		return err
	}
	must(apply("one", false, map[string]string{"a": "1", "b": "1"}))
	err := apply("two", false, map[string]string{"b": "2"})
	expect(errors.IsConflict(err), "two owners: %v", err)
	must(apply("two", true, map[string]string{"b": "2"}))
	must(apply("one", false, map[string]string{}))
	held, err := p.maps().Get(p.ctx, "applied", metav1.GetOptions{})
	must(err)
	expect(len(held.Data) == 1 && held.Data["b"] == "2", "owned by two: %v", held.Data)
	extracted, err := applycore.ExtractConfigMap(held, "two")
	must(err)
	expect(extracted.Data["b"] == "2", "extracted: %v", extracted.Data)
	fmt.Println("applied")
}

func (p program) paged() {
	for n := range 25 {
		object := named(fmt.Sprintf("page-%02d", n), nil)
		object.Labels = map[string]string{"paged": "yes"}
		_, err := p.maps().Create(p.ctx, object, metav1.CreateOptions{})
		must(err)
	}
	pages := 0
	list := pager.New(func(ctx context.Context, options metav1.ListOptions) (found runtime.Object, err error) {
		pages++
		return p.maps().List(ctx, options)
	})
	list.PageSize = 10
	count := 0
	err := list.EachListItem(p.ctx, metav1.ListOptions{LabelSelector: "paged=yes"}, func(runtime.Object) error {
		count++
		return nil
	})
	must(err)
	expect(count == 25 && pages == 3, "%d items in %d pages", count, pages)
	must(p.maps().DeleteCollection(p.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "paged=yes"}))
	fmt.Println("paged")
}

// A shared informer sees every change once, and its lister and index agree with the API.
func (p program) informed() {
	factory := informers.NewSharedInformerFactoryWithOptions(p.client, 0, informers.WithNamespace(p.namespace))
	maps := factory.Core().V1().ConfigMaps()
	pods := factory.Core().V1().Pods()
	events := make(chan string, 100)
	_, err := maps.Informer().AddEventHandler(cache.FilteringResourceEventHandler{
		FilterFunc: func(object any) bool { return cacheName(object) == "seen" },
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { events <- "added" },
			UpdateFunc: func(old, object any) { events <- "updated" },
			DeleteFunc: func(object any) { events <- "deleted" },
		},
	})
	must(err)
	pods.Informer()
	factory.Start(p.ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(p.ctx.Done()) {
		expect(synced, "%v was not synced", kind)
	}
	_, err = p.maps().Create(p.ctx, named("seen", nil), metav1.CreateOptions{})
	must(err)
	_, err = p.maps().Patch(p.ctx, "seen", types.MergePatchType, []byte(`{"data":{"a":"b"}}`), metav1.PatchOptions{})
	must(err)
	must(p.maps().Delete(p.ctx, "seen", metav1.DeleteOptions{}))
	for _, wanted := range []string{"added", "updated", "deleted"} {
		select {
		case event := <-events:
			expect(event == wanted, "%s instead of %s", event, wanted)
		case <-p.ctx.Done():
			must(p.ctx.Err())
		}
	}
	_, err = maps.Lister().ConfigMaps(p.namespace).Get("kube-root-ca.crt")
	must(err)
	fmt.Println("informed")
}

func cacheName(object any) string {
	key, _ := cache.DeletionHandlingMetaNamespaceKeyFunc(object)
	_, name, _ := cache.SplitMetaNamespaceKey(key)
	return name
}

// A kind that this program does not know: found by the mapper, watched, and read as metadata alone.
func (p program) dynamic() {
	client := dynamic.NewForConfigOrDie(p.config)
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(p.client.Discovery()))
	mapping, err := mapper.RESTMapping(schema.GroupKind{Group: widgets.Group, Kind: "Widget"})
	must(err)
	expect(mapping.Resource == widgets, "mapped to %v", mapping.Resource)
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, p.namespace, nil)
	informer := factory.ForResource(widgets)
	added := make(chan string, 10)
	_, err = informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { added <- object.(*unstructured.Unstructured).GetName() },
	})
	must(err)
	factory.Start(p.ctx.Done())
	factory.WaitForCacheSync(p.ctx.Done())
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "clients.example.com/v1", "kind": "Widget",
		"metadata": map[string]any{"name": "w"}, "spec": map[string]any{"size": int64(3)},
	}}
	made, err := client.Resource(widgets).Namespace(p.namespace).Create(p.ctx, object, metav1.CreateOptions{})
	must(err)
	expect(<-added == "w", "another was added")
	must(unstructured.SetNestedField(made.Object, "fine", "status", "phase"))
	made, err = client.Resource(widgets).Namespace(p.namespace).UpdateStatus(p.ctx, made, metav1.UpdateOptions{})
	must(err)
	phase, _, _ := unstructured.NestedString(made.Object, "status", "phase")
	expect(phase == "fine", "status: %v", made.Object)
	partial, err := metadata.NewForConfigOrDie(p.config).Resource(widgets).Namespace(p.namespace).Get(p.ctx, "w", metav1.GetOptions{})
	must(err)
	expect(partial.UID == made.GetUID(), "metadata of another")
	fmt.Println("dynamic")
}

// A watch goes on after its connection has ended, from the revision that it saw last.
func (p program) resumed() {
	list, err := p.maps().List(p.ctx, metav1.ListOptions{})
	must(err)
	second := int64(1)
	watcher, err := toolswatch.NewRetryWatcherWithContext(p.ctx, list.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.TimeoutSeconds = &second
			return p.maps().Watch(ctx, options)
		},
	})
	must(err)
	for n := range 8 {
		name := fmt.Sprintf("resumed-%d", n)
		_, err := p.maps().Create(p.ctx, named(name, nil), metav1.CreateOptions{})
		must(err)
		event := <-watcher.ResultChan()
		expect(event.Type == watch.Added && event.Object.(*corev1.ConfigMap).Name == name, "event %d: %v", n, event)
		time.Sleep(300 * time.Millisecond) // the watch of one second ends meanwhile, twice
	}
	watcher.Stop()
	fmt.Println("resumed")
}

// The second leads when the first has let go.
func (p program) led() {
	order := make(chan string, 2)
	run := func(name string, until context.Context, started chan<- struct{}) {
		lock := &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Name: "leader", Namespace: p.namespace},
			Client:     p.client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: name},
		}
		leaderelection.RunOrDie(until, leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: 3 * time.Second, RenewDeadline: 2 * time.Second,
			RetryPeriod: 200 * time.Millisecond, ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(ctx context.Context) {
					order <- name
					close(started)
				},
				OnStoppedLeading: func() {},
			},
		})
	}
	first, stop := context.WithCancel(p.ctx)
	second, end := context.WithCancel(p.ctx)
	one, two := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Add(2)
	go func() { defer all.Done(); run("one", first, one) }()
	<-one
	go func() { defer all.Done(); run("two", second, two) }()
	stop()
	<-two
	end()
	all.Wait()
	expect(<-order == "one" && <-order == "two", "they led in another order")
	lease, err := p.client.CoordinationV1().Leases(p.namespace).Get(p.ctx, "leader", metav1.GetOptions{})
	must(err)
	expect(*lease.Spec.LeaseTransitions == 1, "transitions: %v", lease.Spec)
	fmt.Println("led")
}
