using System.Text.Json;
using System.Text.Json.Serialization;
using MLDistributed.Protocol;

namespace MLDistributed.Worker.Connections;

/// <summary>Who this worker is to its coordinator, kept in the work folder (mode 0600).</summary>
/// <param name="WorkerId">Given by the coordinator; over a Unix socket, made by the worker.</param>
/// <param name="Credential">Null over a Unix socket.</param>
internal sealed partial record WorkerIdentity(string WorkerId, string? Credential)
{
    /// <summary>Null when there is none, or none that can be read.</summary>
    public static WorkerIdentity? Load(string path)
    {
        try
        {
            return JsonSerializer.Deserialize(File.ReadAllText(path), IdentityJson.Default.WorkerIdentity);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException or JsonException)
        {
            return null;
        }
    }

    public void Save(string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        var temporary = path + ".new";
        using (var file = PrivateFile.Open(temporary, FileMode.Create))
            JsonSerializer.Serialize(file, this, IdentityJson.Default.WorkerIdentity);
        File.Move(temporary, path, overwrite: true);
    }

    [JsonSerializable(typeof(WorkerIdentity))]
    private sealed partial class IdentityJson : JsonSerializerContext;
}
