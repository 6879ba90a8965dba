using System.Globalization;
using Microsoft.ML.Data;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>What any ML.NET app does with a model file. Must not name a type of Microsoft.ML.Distributed.</summary>
internal static class ForeignApp
{
    public const string Verb = "score-model";

    public static int Run(string modelPath, string dataPath)
    {
        var ml = new MLContext();
        var data = ml.Data.LoadFromBinary(dataPath);
        Console.WriteLine(IsLoaded());
        var model = ml.Model.Load(modelPath, out _);
        Console.WriteLine(IsLoaded());
        var scored = model.Transform(data);
        var score = scored.Schema["Score"].Type is VectorDataViewType
            ? scored.GetColumn<float[]>("Score").SelectMany(s => s)
            : scored.GetColumn<float>("Score");
        Console.WriteLine(string.Join(' ', score.Select(s => s.ToString("R", CultureInfo.InvariantCulture))));
        return 0;
    }

    private static bool IsLoaded() => AppDomain.CurrentDomain.GetAssemblies().Any(a => a.GetName().Name == "Microsoft.ML.Distributed");
}
