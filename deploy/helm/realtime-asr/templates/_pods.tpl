{{/* Parts that all pods share. */}}

{{/* Account, pull secrets, security. Argument: root. */}}
{{- define "asr.podDefaults" -}}
serviceAccountName: {{ include "asr.serviceAccountName" . | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- end }}

{{/* nodeSelector, tolerations and the like, those that are set. Argument: a dict with some of them. */}}
{{- define "asr.placement" -}}
{{- with pick . "affinity" "nodeSelector" "priorityClassName" "runtimeClassName" "tolerations" "topologySpreadConstraints" -}}
{{- range $key, $value := . }}
{{- with $value }}
{{ toYaml (dict $key .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The volume with the packs; empty where a StatefulSet adds it. Argument: root, claim (optional). */}}
{{- define "asr.modelsVolume" -}}
{{- $storage := .root.Values.storage -}}
{{- if or .claim (eq $storage.type "claim") }}
- name: models
  persistentVolumeClaim:
    claimName: {{ default (include "asr.claimName" .root) .claim | quote }}
{{- else if eq $storage.type "hostPath" }}
- name: models
  hostPath:
    path: {{ $storage.hostPath.path | quote }}
    type: DirectoryOrCreate
{{- else if eq $storage.type "ephemeral" }}
- name: models
  ephemeral:
    volumeClaimTemplate:
      spec:
        {{- include "asr.claimSpec" (dict "accessModes" (list "ReadWriteOnce") "claim" $storage.ephemeral) | nindent 8 }}
{{- end }}
{{- end }}

{{/* Specification of a claim. Argument: accessModes, claim with size and storageClassName. */}}
{{- define "asr.claimSpec" -}}
accessModes: {{ toJson .accessModes }}
{{- with .claim.storageClassName }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .claim.size }}
{{- end }}

{{/*
A container of the image models-init. Argument: root, name, args, env (which names the packs); installs: it needs source
and licenses, and writes to the volume; writes: it writes to the volume; restartPolicy, startupProbe, resources (optional).
*/}}
{{- define "asr.modelsInit" -}}
{{- $init := .root.Values.modelsInit -}}
name: {{ .name }}
image: {{ include "asr.image" (dict "root" .root "image" $init.image) }}
imagePullPolicy: {{ $init.image.pullPolicy }}
{{- with .restartPolicy }}
restartPolicy: {{ . }}
{{- end }}
args: {{ toJson .args }}
env:
  {{- .env | nindent 2 }}
  - name: MODELS_TERMINATION_LOG
    value: /dev/termination-log
  - name: MODELS_LOG_FORMAT
    value: {{ $init.logFormat }}
  {{- if .installs }}
  {{- include "asr.sourceEnv" .root | trim | nindent 2 }}
  {{- with $init.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- end }}
terminationMessagePolicy: FallbackToLogsOnError
securityContext:
  {{- toYaml .root.Values.securityContext | nindent 2 }}
{{- with .startupProbe }}
startupProbe:
  {{- toYaml . | nindent 2 }}
{{- end }}
resources:
  {{- toYaml (default $init.resources .resources) | nindent 2 }}
volumeMounts:
  - name: models
    mountPath: /models
    {{- if not (or .installs .writes) }}
    readOnly: true
    {{- end }}
  {{- if .installs }}
  {{- with include "asr.joined" (list (include "asr.sourceMounts" .root) (include "asr.licenseMount" .root)) }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with $init.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- end }}
{{- end }}

{{/*
The volumes of a pod, without blank lines. Argument: root; claim (optional); installs: with those that an install needs;
license: with the licenses.
*/}}
{{- define "asr.volumes" -}}
{{- $volumes := list (include "asr.modelsVolume" .) -}}
{{- if .installs -}}
{{- $volumes = append $volumes (include "asr.sourceVolumes" .root) -}}
{{- with .root.Values.modelsInit.extraVolumes -}}
{{- $volumes = append $volumes (toYaml .) -}}
{{- end -}}
{{- end -}}
{{- if or .installs .license -}}
{{- $volumes = append $volumes (include "asr.licenseVolume" .root) -}}
{{- end -}}
{{- include "asr.joined" $volumes -}}
{{- end }}

{{/* Texts, one below the other, without the empty ones. */}}
{{- define "asr.joined" -}}
{{- $texts := list -}}
{{- range . -}}
{{- with trim . -}}
{{- $texts = append $texts . -}}
{{- end -}}
{{- end -}}
{{- join "\n" $texts -}}
{{- end }}

{{/* An init container as root that gives the volume's top directory to the user of models-init. Argument: root. */}}
{{- define "asr.takeOwnership" -}}
{{- if .Values.storage.takeOwnership }}
{{- $user := .Values.podSecurityContext }}
- name: take-ownership
  image: {{ include "asr.image" (dict "root" . "image" .Values.modelsInit.image) }}
  imagePullPolicy: {{ .Values.modelsInit.image.pullPolicy }}
  command: [chown, "{{ $user.runAsUser | int }}:{{ $user.runAsGroup | int }}", /models]
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext:
    runAsNonRoot: false
    runAsUser: 0
    runAsGroup: 0
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop: [ALL]
      add: [CHOWN]
  resources:
    {{- toYaml .Values.lease.resources | nindent 4 }}
  volumeMounts:
    - name: models
      mountPath: /models
{{- end }}
{{- end }}

{{/*
A native sidecar that keeps a lease on the packs, so that pruning by other pods leaves them alone. The engine starts only
after the startup probe: a pack that was removed at the last moment is never replaced by an empty directory, which the
kubelet would create for the mount. Argument: root, set.
*/}}
{{- define "asr.lease" -}}
{{- $probe := dict "exec" (dict "command" (list "models-init" "--wait" "0")) "periodSeconds" 2 "timeoutSeconds" 10 "failureThreshold" 5 -}}
{{- include "asr.modelsInit" (dict "root" .root "env" (include "asr.setEnv" .set) "name" "lease" "args" (list "--hold") "restartPolicy" "Always" "startupProbe" $probe "resources" .root.Values.lease.resources) -}}
{{- end }}
