using MLDistributed.Bench;
using MLDistributed.Bench.Load;

return args switch
{
    ["quality", .. var names] => Quality.Run(names),
    ["fit", ..] => FitOverhead.Run(),
    ["encode", .. var sizes] => EncodeThroughput.Run(sizes),
    ["scoring", "images", ..] => ImageScoring.Run(),
    ["scoring", ..] => ScoringThroughput.Run(),
    ["recovery", "storm", .. var rest] => await Storm.RunAsync(rest).ConfigureAwait(false),
    ["recovery", .. var rest] => Recovery.Run(rest),
    ["latency", .. var rest] => SingleRowLatency.Run(rest),
    ["load", .. var part] => await LoadBench.RunAsync(part).ConfigureAwait(false),
    _ => Usage(),
};

static int Usage()
{
    Console.Error.WriteLine("""
        dotnet run -c Release --project bench -- COMMAND
          quality [SET..]  held-out quality beside ML.NET's own trainers, 5 seeds: digits, iris, cancer, rare, text, diabetes, bike, queries, and of R's packages
                           letters, spam, income, loans, churn, diamonds, houses
          quality fashion [mlp|cnn|resnet18..]
                           images: accuracy on Fashion-MNIST's test set; takes a while
          quality drawings fine-tuned images: pretrained weights beside the same network from scratch
          fit              what a Fit costs beyond the training: cold and warm local cluster
          encode [MB..]    rows/s, MB/s and managed heap of the dataset encoder
          scoring          rows/s of Transform: this model, ONNX Runtime, LightGBM
          scoring images   images/s of a ResNet-18 and of the small CNN: managed code and ONNX Runtime, one at a time and 32
          load [jobs|durability|upload]
                           a coordinator with many waiting jobs and agents; what durability costs; uploads beside a bare Flight sink
          recovery [KILLS] a rank killed to training again, and steps repeated: p50 and p95 of 20 kills
          recovery storm [KILLS]
                           the same for three jobs of two tenants, while agents and the coordinator die and all of them are stopped
          latency          microseconds a row in a PredictionEngine (BenchmarkDotNet)
        """);
    return 2;
}
