{{- define "aqueduct.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "aqueduct.fullname" -}}
{{- $name := include "aqueduct.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "aqueduct.selector" -}}
app.kubernetes.io/name: {{ include "aqueduct.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "aqueduct.labels" -}}
{{ include "aqueduct.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "aqueduct.image" -}}
{{- $image := .root.Values.image -}}
{{- if and $image.digest (not .tag) -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ .tag | default $image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* A size as the configuration takes it: a number of YAML may come as 5.36870912e+08. */}}
{{- define "aqueduct.size" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ . | int64 }}{{ end -}}
{{- end -}}

{{/* The same in bytes. */}}
{{- define "aqueduct.bytes" -}}
{{- $text := include "aqueduct.size" . -}}
{{- $number := regexFind "^[0-9]+" $text | int64 -}}
{{- $unit := regexFind "[A-Za-z]+$" $text -}}
{{- $factors := dict "" 1 "B" 1 "kB" 1000 "MB" 1000000 "GB" 1000000000 "KiB" 1024 "MiB" 1048576 "GiB" 1073741824 -}}
{{- mul $number (get $factors $unit) -}}
{{- end -}}

{{/* What the listener's memory is, in Mi: rings are memory of its own. */}}
{{- define "aqueduct.memory" -}}
{{- $bytes := include "aqueduct.bytes" .Values.listener.maxBuffered | int64 -}}
{{- range .Values.rings -}}
{{- $bytes = add $bytes (include "aqueduct.bytes" (default "16MiB" .capacity) | int64) -}}
{{- end -}}
{{- add 64 (div (add $bytes 1048575) 1048576) -}}
{{- end -}}

{{- define "aqueduct.check" -}}
{{- if and .Values.autoscaling.enabled .Values.keda.enabled -}}
{{- fail "autoscaling and keda are both enabled: they would set the same number of pods" -}}
{{- end -}}
{{- if and (eq .Values.mode "node") (or .Values.autoscaling.enabled .Values.keda.enabled .Values.canary.enabled .Values.persistence.enabled) -}}
{{- fail "mode node has one listener for each node: no autoscaling, keda, canary or persistence" -}}
{{- end -}}
{{- if and .Values.canary.enabled .Values.persistence.enabled -}}
{{- fail "canary makes a Deployment, and persistence a StatefulSet: use its partitioned updates" -}}
{{- end -}}
{{- range .Values.rings -}}
{{- if and (ne (default "memory" .durability) "memory") (not $.Values.persistence.enabled) -}}
{{- fail (printf "ring %s has durability %s: set persistence.enabled" .name .durability) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "aqueduct.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{/* The template of a pod, by root, tag and track. */}}
{{- define "aqueduct.pod" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $name := include "aqueduct.fullname" .root -}}
metadata:
  labels:
    {{- include "aqueduct.selector" $root | nindent 4 }}
    app.kubernetes.io/component: listener
    aqueduct/track: {{ .track }}
    {{- with $values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    checksum/config: {{ include (print $root.Template.BasePath "/configmap.yaml") $root | sha256sum }}
    {{- with $values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ $name }}
  automountServiceAccountToken: false
  {{- with $values.imagePullSecrets }}
  imagePullSecrets: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  # Requests in flight and readers, after nobody sends new ones, and something to spare.
  terminationGracePeriodSeconds: {{ add $values.preStopSeconds $values.listener.drainSeconds 10 }}
  securityContext:
    fsGroup: 65532
    runAsNonRoot: true
    seccompProfile: { type: RuntimeDefault }
  {{- with $values.nodeSelector }}
  nodeSelector: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- if and (eq $values.mode "pod") (ne $values.antiAffinity "none") }}
  affinity:
    podAntiAffinity:
      {{- if eq $values.antiAffinity "required" }}
      requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels: {{ include "aqueduct.selector" $root | nindent 14 }}
      {{- else }}
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels: {{ include "aqueduct.selector" $root | nindent 16 }}
      {{- end }}
  {{- end }}
  {{- if or $values.engine.enabled $values.forwarders }}
  # Who reads. As sidecars they start before the listener, and are ended after it: what it drains is
  # still read.
  initContainers:
    {{- if $values.engine.enabled }}
    - name: engine
      image: {{ $values.engine.image | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      restartPolicy: Always
      {{- with $values.engine.command }}
      command: {{ toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.engine.args }}
      args: {{ toYaml . | nindent 8 }}
      {{- end }}
      env:
        - { name: AQUEDUCT_SOCKET, value: /run/aqueduct/aqueduct.sock }
        {{- with $values.engine.env }}{{ toYaml . | nindent 8 }}{{ end }}
      resources: {{ toYaml $values.engine.resources | nindent 8 }}
      securityContext: {{ include "aqueduct.security" $root | nindent 8 }}
      volumeMounts:
        - { name: socket, mountPath: /run/aqueduct }
    {{- end }}
    {{- range $values.forwarders }}
    - name: forward-{{ .name }}
      image: {{ include "aqueduct.image" (dict "root" $root "tag" $.tag) | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      restartPolicy: Always
      command: [/aqueduct-forward]
      args: [--config, /etc/aqueduct/forward/{{ .name }}.toml, --admin-listen, "0.0.0.0:{{ .admin }}"]
      ports:
        - { name: fw-{{ .name | trunc 11 | trimSuffix "-" }}, containerPort: {{ .admin }} }
      livenessProbe:
        httpGet: { path: /healthz, port: {{ .admin }} }
        periodSeconds: 10
        failureThreshold: 6
      resources:
        {{- if .resources }}{{ toYaml .resources | nindent 8 }}{{ else }}
        requests: { cpu: 50m, memory: 64Mi }
        limits: { memory: 256Mi }
        {{- end }}
      securityContext: {{ include "aqueduct.security" $root | nindent 8 }}
      volumeMounts:
        - { name: socket, mountPath: /run/aqueduct }
        - { name: forward, mountPath: /etc/aqueduct/forward, readOnly: true }
        {{- if .secretName }}
        - { name: forward-{{ .name }}, mountPath: /etc/aqueduct/forward-secrets/{{ .name }}, readOnly: true }
        {{- end }}
    {{- end }}
  {{- end }}
  containers:
    - name: listener
      image: {{ include "aqueduct.image" (dict "root" $root "tag" .tag) | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: [serve, --config, /etc/aqueduct/aqueduct.toml]
      ports:
        - name: http
          containerPort: {{ $values.listener.http }}
          {{- if and (eq $values.mode "node") $values.node.hostPort }}
          hostPort: {{ $values.node.hostPort }}
          {{- end }}
        - { name: admin, containerPort: {{ $values.listener.admin }} }
        {{- range $values.listener.extraPorts }}
        - { name: {{ .name }}, containerPort: {{ .port }} }
        {{- end }}
      startupProbe:
        httpGet: { path: /healthz, port: admin }
        periodSeconds: 1
        failureThreshold: 60
      # Ready is when a record has a chance; alive is when the process answers at all.
      readinessProbe:
        httpGet: { path: /readyz, port: admin }
        periodSeconds: 2
        failureThreshold: 2
      livenessProbe:
        httpGet: { path: /healthz, port: admin }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      lifecycle:
        preStop:
          sleep: { seconds: {{ $values.preStopSeconds }} }
      resources:
        requests:
          cpu: {{ $values.listener.resources.cpu.request | quote }}
          memory: {{ include "aqueduct.memory" $root }}Mi
        limits:
          {{- with $values.listener.resources.cpu.limit }}
          cpu: {{ . | quote }}
          {{- end }}
          memory: {{ add (include "aqueduct.memory" $root | int64) 64 }}Mi
      securityContext: {{ include "aqueduct.security" $root | nindent 8 }}
      volumeMounts:
        - { name: config, mountPath: /etc/aqueduct/aqueduct.toml, subPath: aqueduct.toml, readOnly: true }
        - { name: socket, mountPath: /run/aqueduct }
        {{- if $values.persistence.enabled }}
        - { name: journal, mountPath: /var/lib/aqueduct }
        {{- end }}
        {{- if $values.listener.secretName }}
        - { name: secrets, mountPath: /etc/aqueduct/secrets, readOnly: true }
        {{- end }}
  volumes:
    - name: config
      configMap: { name: {{ $name }} }
    - name: socket
      {{- if eq $values.mode "node" }}
      hostPath: { path: {{ $values.node.socketDirectory }}, type: Directory }
      {{- else }}
      emptyDir: { medium: Memory, sizeLimit: 1Mi }
      {{- end }}
    {{- if $values.forwarders }}
    - name: forward
      configMap: { name: {{ $name }}-forward }
    {{- end }}
    {{- range $values.forwarders }}
    {{- if .secretName }}
    - name: forward-{{ .name }}
      secret: { secretName: {{ .secretName }}, defaultMode: 0440 }
    {{- end }}
    {{- end }}
    {{- if $values.listener.secretName }}
    - name: secrets
      secret: { secretName: {{ $values.listener.secretName }}, defaultMode: 0440 }
    {{- end }}
{{- end -}}

{{- /* A pod that goes takes what nobody has read of its rings with it: slowly. */}}
{{- define "aqueduct.scaling" -}}
scaleDown:
  stabilizationWindowSeconds: 600
  policies: [{ type: Pods, value: 1, periodSeconds: 120 }]
{{- end }}
