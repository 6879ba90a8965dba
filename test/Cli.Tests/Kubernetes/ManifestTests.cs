using System.Text.RegularExpressions;
using k8s;
using k8s.Models;
using MLDistributed.Cli.Commands;

namespace MLDistributed.Cli.Tests.Kubernetes;

/// <summary>The manifests of deploy/kubernetes: read by the API's own types, which know every field, and run by our command line.</summary>
[TestClass]
public sealed partial class ManifestTests
{
    private static readonly string s_folder = Path.Combine(AppContext.BaseDirectory, "deploy");

    public static IEnumerable<string> Files => Directory.EnumerateFiles(s_folder, "*.yaml").Select(f => Path.GetFileName(f));

    [TestMethod, DynamicData(nameof(Files))]
    public void Manifest_OfTheApi_HasNoUnknownField(string file)
    {
        var objects = Read(file);

        Assert.IsNotEmpty(objects);
        foreach (var named in objects.Cast<IKubernetesObject<V1ObjectMeta>>())
            StringAssert.StartsWith(named.Metadata.Name, "mldist");
    }

    [TestMethod]
    public void Manifest_WithAnUnknownField_IsRefused() => Assert.Throws<Exception>(
        () => KubernetesYaml.LoadAllFromString("apiVersion: v1\nkind: Service\nmetadata: { name: mldist }\nspec: { selectors: { app: a } }", strict: true));

    [TestMethod, DynamicData(nameof(Files))]
    public void Container_Arguments_AreThoseOfTheCommandLine(string file)
    {
        foreach (var container in Pods(file).SelectMany(p => p.Spec.Containers))
            Assert.IsEmpty(CommandTree.Create().Parse([.. container.Args]).Errors, string.Join(' ', container.Args));
    }

    [TestMethod, DynamicData(nameof(Files))]
    public void Pod_Names_AreAllDefined(string file)
    {
        foreach (var pod in Pods(file))
        {
            var claims = Read(file).OfType<V1StatefulSet>().SelectMany(s => s.Spec.VolumeClaimTemplates).Select(c => c.Metadata.Name);
            var volumes = (pod.Spec.Volumes ?? []).Select(v => v.Name).Concat(claims).ToList();
            foreach (var container in pod.Spec.Containers)
            {
                CollectionAssert.IsSubsetOf(container.VolumeMounts.Select(m => m.Name).ToList(), volumes);
                CollectionAssert.IsSubsetOf(Variable().Matches(string.Join(' ', container.Args)).Select(m => m.Groups[1].Value).ToList(), (container.Env ?? []).Select(e => e.Name).ToList());
                Assert.IsTrue(container.SecurityContext.ReadOnlyRootFilesystem);
            }
        }
    }

    [TestMethod]
    public void Worker_ToldToLeave_HasTimeForItsCheckpoint()
    {
        foreach (var pod in Files.SelectMany(Pods).Where(p => p.Spec.Containers[0].Args[0] == "worker"))
        {
            var grace = pod.Spec.Containers[0].Args.Single(a => a.StartsWith("--grace=", StringComparison.Ordinal)).Split('=')[1];
            Assert.IsLessThan(pod.Spec.TerminationGracePeriodSeconds!.Value, long.Parse(grace));
        }
    }

    [TestMethod]
    public void Isolation_OfWorkers_NamesTheirPods()
    {
        var policy = Read("isolation.yaml").OfType<V1NetworkPolicy>().Single();
        var workers = Files.SelectMany(Pods).Where(p => p.Spec.Containers[0].Args[0] == "worker").ToList();

        Assert.IsNotEmpty(workers);
        foreach (var pod in workers)
            CollectionAssert.IsSubsetOf(policy.Spec.PodSelector.MatchLabels.ToList(), pod.Metadata.Labels.ToList());
    }

    private static List<object> Read(string file) => KubernetesYaml.LoadAllFromString(File.ReadAllText(Path.Combine(s_folder, file)), strict: true);

    private static IEnumerable<V1PodTemplateSpec> Pods(string file) =>
        Read(file).Select(o => o is V1StatefulSet set ? set.Spec.Template : (o as V1Job)?.Spec.Template).OfType<V1PodTemplateSpec>();

    [GeneratedRegex(@"\$\(([A-Z_]+)\)", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Variable();
}
