{{/*
The volumes that Jobs work on, as a JSON array of {claim, language, pod}: one shared claim (all languages), or the claim
of each pod of each StatefulSet. Argument: root.
*/}}
{{- define "asr.jobVolumes" -}}
{{- $volumes := list -}}
{{- if eq .Values.storage.type "claim" -}}
{{- $volumes = append $volumes (dict "claim" (include "asr.claimName" .)) -}}
{{- else if eq .Values.storage.type "claimPerPod" -}}
{{- range $language := keys .Values.languages | sortAlpha -}}
{{- range $ordinal := until (include "asr.replicas" (dict "root" $ "language" $language) | int) -}}
{{- $pod := printf "%s-%s-%d" (include "asr.fullname" $) $language $ordinal -}}
{{- $volumes = append $volumes (dict "claim" (printf "models-%s" $pod) "language" $language "pod" $pod) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $volumes -}}
{{- end }}

{{/*
The specification of a Job that works on one volume. Argument: root, component, volume; options: limits of the Job;
containers, initContainers and volumes as text; retried: the exit codes of the container models-init after which the Job
tries again; every other failure would only repeat.
*/}}
{{- define "asr.jobSpec" -}}
{{- range $name, $value := .options }}
{{- if ne $value nil }}
{{ $name }}: {{ int $value }}
{{- end }}
{{- end }}
podFailurePolicy:
  rules:
    - action: Ignore # the pod was evicted, its node was drained: not a failure of the program
      onPodConditions:
        - type: DisruptionTarget
          status: "True"
    - action: FailJob
      onExitCodes:
        containerName: models-init
        operator: NotIn
        values: {{ toJson .retried }}
template:
  metadata:
    {{- include "asr.podMetadata" (dict "root" .root "component" .component "annotations" .root.Values.modelsInit.podAnnotations) | nindent 4 }}
  spec:
    restartPolicy: Never
    {{- include "asr.podDefaults" .root | nindent 4 }}
    {{- with .initContainers | trim }}
    initContainers:
      {{- . | nindent 6 }}
    {{- end }}
    containers:
      {{- .containers | nindent 6 }}
    {{- with include "asr.placement" (omit .root.Values.staging "affinity") | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with .volume.pod }}
    affinity: # the claim can be mounted on one node only, that of the engine
      podAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          - topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                statefulset.kubernetes.io/pod-name: {{ . }}
    {{- else }}
    {{- with .root.Values.staging.affinity }}
    affinity:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- end }}
    volumes:
      {{- .volumes | nindent 6 }}
{{- end }}

{{/*
A container that removes the versions that no set in use, no lease and no rollback needs. --keep N keeps the N + 1 sets
that were staged last: of each language the one in use and prune.keep earlier ones, and those staged ahead. models-init accepts at most 1000.
Argument: root, language (optional).
*/}}
{{- define "asr.pruneContainer" -}}
{{- $kept := -1 -}}
{{- range include "asr.currentSets" .root | fromJsonArray -}}
{{- if has $.language (list nil .language) -}}{{- $kept = add $kept 1 $.root.Values.prune.keep -}}{{- end -}}
{{- end -}}
{{- range include "asr.aheadSets" .root | fromJsonArray -}}
{{- if has $.language (list nil .language) -}}{{- $kept = add1 $kept -}}{{- end -}}
{{- end -}}
{{- include "asr.modelsInit" (dict "root" .root "env" (include "asr.allSetsEnv" .) "name" "models-init" "args" (list "--prune" "--keep" (min $kept 1000 | toString)) "writes" true) -}}
{{- end }}
