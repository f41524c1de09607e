{{- define "sluice.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if eq .Release.Name "sluice" -}}
sluice
{{- else -}}
{{- printf "%s-sluice" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* What selects the pods of a part: never changed, a Deployment's selector cannot be. (root, part) */ -}}
{{- define "sluice.selector" -}}
app.kubernetes.io/name: sluice
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- /* (root, part) */ -}}
{{- define "sluice.labels" -}}
{{- $root := index . 0 -}}
{{ include "sluice.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* No version in them: what does not change a pod must not replace it. (root, part) */ -}}
{{- define "sluice.podLabels" -}}
{{- $root := index . 0 -}}
{{ include "sluice.selector" . }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- with (index $root.Values (index . 1)).podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* (root, part) */ -}}
{{- define "sluice.image" -}}
{{- $root := index . 0 -}}
{{- $image := $root.Values.image -}}
{{- with $image.registry }}{{ . }}/{{ end -}}
{{ $image.repository }}-{{ index . 1 }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}

{{- /* A setting's value as text: whole numbers whole, however large (YAML's numbers are floats here). */ -}}
{{- define "sluice.number" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- end -}}

{{- /* Variables of a part's `settings`. */ -}}
{{- define "sluice.settings" -}}
{{- range $name, $value := . }}
- name: SLUICE_{{ snakecase $name | upper }}
  value: {{ include "sluice.number" $value | quote }}
{{- end }}
{{- end -}}

{{- /* Broker and its credentials of one part. (root, part) */ -}}
{{- define "sluice.natsEnv" -}}
{{- $nats := (index . 0).Values.nats -}}
{{- $login := index $nats (index . 1) -}}
- name: SLUICE_NATS_URL
  value: {{ $nats.url | quote }}
- name: SLUICE_NATS_USER
  value: {{ $login.user | quote }}
- name: SLUICE_NATS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $login.existingSecret }}, key: {{ $login.key }}}}
{{- end -}}

{{- define "sluice.mongodbHosts" -}}
{{ .Values.mongodb.hosts }}{{ with .Values.mongodb.options }}/?{{ . }}{{ end }}
{{- end -}}

{{- /* `/?authSource=...` and the options that all have. (root, authSource) */ -}}
{{- define "sluice.mongodbTail" -}}
{{- $mongodb := (index . 0).Values.mongodb -}}
{{ $mongodb.hosts }}/?authSource={{ index . 1 }}{{ with $mongodb.options }}&{{ . }}{{ end }}
{{- end -}}

{{- define "sluice.ingestUrl" -}}
{{- if .Values.operator.ingestUrl -}}
{{ .Values.operator.ingestUrl }}
{{- else if and .Values.ingest.ingress.enabled .Values.ingest.ingress.hosts -}}
{{ ternary "https" "http" (not (empty .Values.ingest.ingress.tls)) }}://{{ first .Values.ingest.ingress.hosts }}
{{- else -}}
http://{{ include "sluice.fullname" . }}-ingest.{{ .Release.Namespace }}.svc.cluster.local
{{- if ne (int .Values.ingest.service.port) 80 }}:{{ .Values.ingest.service.port }}{{ end }}
{{- end -}}
{{- end -}}

{{- /* What all pods have in common: nobody's rights, nothing to write to. (root, part, more) */ -}}
{{- define "sluice.podDefaults" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- $values := index $root.Values $part -}}
enableServiceLinks: false
terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "sluice.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* (root, part) */ -}}
{{- define "sluice.volumes" -}}
{{- $root := index . 0 -}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- with $root.Values.caBundle.existingConfigMap }}
- name: ca
  configMap: {name: {{ . }}}
{{- end }}
{{- with (index $root.Values (index . 1)).extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* (root, part) */ -}}
{{- define "sluice.volumeMounts" -}}
{{- $root := index . 0 -}}
- {name: tmp, mountPath: /tmp}
{{- if $root.Values.caBundle.existingConfigMap }}
- {name: ca, mountPath: /etc/sluice/ca, readOnly: true}
{{- end }}
{{- with (index $root.Values (index . 1)).extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* (root, part) */ -}}
{{- define "sluice.moreEnv" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.caBundle.existingConfigMap }}
- name: SSL_CERT_FILE
  value: /etc/sluice/ca/{{ $root.Values.caBundle.key }}
{{- end }}
{{- with (index $root.Values (index . 1)).extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Name resolution, which every part needs. */ -}}
{{- define "sluice.egressDNS" -}}
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- end -}}

{{- /* One rule of egress. (peers, ports) */ -}}
{{- define "sluice.egress" -}}
- ports:
  {{- range index . 1 }}
    - {port: {{ . }}, protocol: TCP}
  {{- end }}
  {{- with index . 0 }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
