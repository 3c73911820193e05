// A manager on controller-runtime: a reconciler of Widgets that owns ConfigMaps, keeps a finalizer
// and writes status, and webhooks that default and validate Widgets. It serves until it is ended.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

const finalizer = "clients.example.com/cleanup"

type WidgetSpec struct {
	Size  int64  `json:"size"`
	Color string `json:"color,omitempty"`
}

type WidgetStatus struct {
	Phase string `json:"phase,omitempty"`
}

type Widget struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              WidgetSpec   `json:"spec"`
	Status            WidgetStatus `json:"status,omitempty"`
}

type WidgetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []Widget `json:"items"`
}

func (w *Widget) DeepCopyObject() runtime.Object {
	copied := *w
	w.ObjectMeta.DeepCopyInto(&copied.ObjectMeta)
	return &copied
}

func (l *WidgetList) DeepCopyObject() runtime.Object {
	copied := *l
	copied.Items = nil
	for n := range l.Items {
		copied.Items = append(copied.Items, *l.Items[n].DeepCopyObject().(*Widget))
	}
	return &copied
}

type reconciler struct {
	client.Client
	scheme *runtime.Scheme
}

func (r reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var widget Widget
	if err := r.Get(ctx, request.NamespacedName, &widget); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !widget.DeletionTimestamp.IsZero() {
		goodbye := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: widget.Name + "-gone", Namespace: widget.Namespace}}
		if err := client.IgnoreAlreadyExists(r.Create(ctx, goodbye)); err != nil {
			return ctrl.Result{}, err
		}
		controllerutil.RemoveFinalizer(&widget, finalizer)
		return ctrl.Result{}, r.Update(ctx, &widget)
	}
	if controllerutil.AddFinalizer(&widget, finalizer) {
		return ctrl.Result{}, r.Update(ctx, &widget)
	}
	owned := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: widget.Name, Namespace: widget.Namespace}}
	_, err := controllerutil.CreateOrUpdate(ctx, r.Client, owned, func() error {
		owned.Data = map[string]string{"size": fmt.Sprint(widget.Spec.Size), "color": widget.Spec.Color}
		return controllerutil.SetControllerReference(&widget, owned, r.scheme)
	})
	if err != nil || widget.Status.Phase == "Ready" {
		return ctrl.Result{}, err
	}
	widget.Status.Phase = "Ready"
	return ctrl.Result{}, r.Status().Update(ctx, &widget)
}

type hooks struct{}

func (hooks) Default(ctx context.Context, widget *Widget) error {
	if widget.Spec.Color == "" {
		widget.Spec.Color = "blue"
	}
	return nil
}

func (hooks) ValidateCreate(ctx context.Context, widget *Widget) (admission.Warnings, error) {
	if widget.Spec.Size > 10 {
		return nil, fmt.Errorf("a size of %d is too much", widget.Spec.Size)
	}
	if widget.Spec.Size == 10 {
		return admission.Warnings{"that is large"}, nil
	}
	return nil, nil
}

func (h hooks) ValidateUpdate(ctx context.Context, old, widget *Widget) (admission.Warnings, error) {
	return h.ValidateCreate(ctx, widget)
}

func (hooks) ValidateDelete(ctx context.Context, widget *Widget) (admission.Warnings, error) {
	return nil, nil
}

func main() {
	certificates := flag.String("certificates", "", "folder of tls.crt and tls.key")
	port := flag.Int("port", 0, "of the webhooks")
	flag.Parse()
	ctrl.SetLogger(zap.New())
	scheme := runtime.NewScheme()
	must(corev1.AddToScheme(scheme))
	group := schema.GroupVersion{Group: "clients.example.com", Version: "v1"}
	scheme.AddKnownTypes(group, &Widget{}, &WidgetList{})
	metav1.AddToGroupVersion(scheme, group)
	manager, err := ctrl.NewManager(ctrl.GetConfigOrDie(), ctrl.Options{
		Scheme:                  scheme,
		Metrics:                 server.Options{BindAddress: "0"},
		LeaderElection:          true,
		LeaderElectionID:        "widgets",
		LeaderElectionNamespace: "default",
		WebhookServer:           webhook.NewServer(webhook.Options{Host: "127.0.0.1", Port: *port, CertDir: *certificates}),
	})
	must(err)
	must(ctrl.NewControllerManagedBy(manager).For(&Widget{}).Owns(&corev1.ConfigMap{}).
		Complete(reconciler{manager.GetClient(), scheme}))
	must(ctrl.NewWebhookManagedBy(manager, &Widget{}).WithDefaulter(hooks{}).WithValidator(hooks{}).Complete())
	must(manager.Start(ctrl.SetupSignalHandler()))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
